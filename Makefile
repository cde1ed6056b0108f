# Every target first sets up what it needs in .venv, with plain pip and nothing outside this folder.
#   PYTHON=/path/to/python   the interpreter to make .venv with
#   ARGS='...'               handed on: make run ARGS='--port 8080', make test ARGS='-k rollback'

# What Python compiles is kept in the checkout. Without that each process that a test starts, and
# pytest itself, would compile all of it again.
unexport PYTHONDONTWRITEBYTECODE

USABLE = import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHONS = $(or $(PYTHON),python3.13 python3.12 python3.11 python3)
# -qq: errors only; what is going on is said by the echo before it.
PIP = .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input
# The hashes in the locks cover every platform and Python 3.11 to 3.13.
COMPILE = .venv/bin/uv pip compile -q pyproject.toml --universal --python-version 3.11 \
	--all-extras --generate-hashes --annotation-style line --custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help run test test-security test-stack endure coverage check reference shape bench proof storm lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

run: .venv/.run ## start everything on this machine (turnstream up); Ctrl-C stops it
	@.venv/bin/turnstream up $(ARGS)

test: .venv/.dev ## run the tests
	@.venv/bin/pytest -n 3 $(ARGS)

test-security: .venv/.dev ## agents kept apart in 30,000 cases, attacks on a running installation; about 10 minutes
	@.venv/bin/pytest -n 2 -m "security and not alone" tests/security $(ARGS)
	@.venv/bin/pytest -n 0 -m "security and alone" tests/security $(ARGS)

test-stack: .venv/.dev ## the compose file through its one port, with kills and cut networks; needs Docker; about 20 minutes
	@.venv/bin/pytest -n 0 -m stack tests/stack $(ARGS)

endure: .venv/.dev ## the tests that take minutes: 100 takeovers, a minute frozen, drains, streams of models
	@.venv/bin/pytest -m endurance tests $(ARGS)

coverage: .venv/.dev ## run the tests and print the lines and branches that none reaches; details in htmlcov/
	@.venv/bin/pytest -n 3 --timeout=180 --cov --cov-report=term --cov-report=html $(ARGS)

check: .venv/.dev ## format, lint, types, import arrows, the shape of the code, and that the docs agree with the code
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/pyright
	.venv/bin/lint-imports --no-logo
	.venv/bin/python -m checks.shape
	.venv/bin/pytest -q tests/docs

reference: .venv/.created ## write docs/api-reference.md again from the docstrings
	@.venv/bin/python -m checks.reference

shape: .venv/.created ## how long functions are, how large classes and files, and whether imports go round
	@.venv/bin/python -m checks.shape

bench: .venv/.run ## measure on this machine, against plain SQLite with the same schema
	@.venv/bin/python -m bench $(ARGS)

proof: .venv/.run ## kill everything and see that nothing is lost, about 10 minutes; ARGS='--minutes 2'
	@.venv/bin/python -m proof $(ARGS)

storm: .venv/.run ## three replicas of ingest, killed and frozen, Redis and the platforms away; about 5 minutes
	@.venv/bin/python -m proof.storm $(ARGS)

lock: .venv/.created ## write the locks again from pyproject.toml; ARGS=--upgrade takes newer versions
	$(PIP) uv==0.13.9
	$(COMPILE) $(ARGS) --group build -o requirements.lock
	$(COMPILE) $(ARGS) --group dev -c requirements.lock -o requirements-dev.lock

clean: ## remove .venv and caches; stored sessions are elsewhere and stay
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage* htmlcov build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A moved or copied checkout brings a .venv that still runs the code of its old place, and an
# interpreter may have been uninstalled: in both cases .venv is made again.
ifneq ($(shell test -x .venv/bin/python && cat .venv/.created 2>/dev/null),$(CURDIR))
.PHONY: .venv/.created
endif

.venv/.created:
	@if [ -L .venv ]; then \
	    echo "$(CURDIR)/.venv is a link, and what it leads to would be emptied: remove the link." >&2; \
	    exit 1; \
	fi
	@for python in $(PYTHONS); do \
	    if "$$python" -c '$(USABLE)' 2>/dev/null; then \
	        echo "Making .venv with $$("$$python" --version) ($$python)"; \
	        "$$python" -m venv --clear .venv || exit 1; \
	        printf '%s' "$(CURDIR)" > $@; \
	        exit 0; \
	    fi; \
	done; \
	echo "Turnstream needs Python 3.11, 3.12 or 3.13 with its venv module; tried: $(PYTHONS)." >&2; \
	echo "Name one with make PYTHON=/path/to/python, or install it (Debian: apt install python3-venv)." >&2; \
	exit 1

# The development lock holds all of the runtime lock in the same versions, so both may be installed.
define install
	@echo "Installing the packages of $< into .venv (about half a minute, only when they change)"
	@$(PIP) --require-hashes -r $<
	@$(PIP) --no-build-isolation --no-deps -e .
	@touch $@
endef

.venv/.run: requirements.lock pyproject.toml .venv/.created
	$(install)

.venv/.dev: requirements-dev.lock pyproject.toml .venv/.created
	$(install)
