"""Bearer tokens: who may call the HTTP entry points, and how far.

`{workspace}/tokens.json` holds the hashes, never a token; it is written whole and at once, and
read again when it has changed. Whatever is wrong with it lets nobody in.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sessions import times
from sessions.errors import ConfigError
from sessions.process.durable import locked, replace_file
from sessions.process.private import make_private_directory

log = logging.getLogger(__name__)

# Makes a leaked token recognisable to people and to scanners.
TOKEN_PREFIX: Final = "ts_"
# Where the administrator's token is kept, in the workspace.
TOKEN_FILE: Final = "token"
# 256 bits: nobody guesses one, so that one round of SHA-256 is hash enough.
_TOKEN_BYTES: Final = 32
# The header by which a caller asks to be taken for one agent, and for no more than that.
AGENT_HEADER: Final = "x-turnstream-agent"


class TokenScope(StrEnum):
    """What a token may do. `read`, `send` and `admin` nest; `admin` holds the others as well.

    `metrics` reads /metrics and nothing else. `serve` is for ingest: it checks tokens, reads for
    turns, and acts for one agent when it says for which.
    """

    READ = "read"
    SEND = "send"
    ADMIN = "admin"
    METRICS = "metrics"
    SERVE = "serve"

    def includes(self, other: TokenScope) -> bool:
        """Whether this scope may do what `other` may."""
        return self is other or other in _HELD[self]

    @property
    def of_an_agent(self) -> bool:
        """Whether tokens of this scope belong to an agent; the others belong to none."""
        return self in (TokenScope.READ, TokenScope.SEND)


_HELD: Final = {
    TokenScope.READ: frozenset[TokenScope](),
    TokenScope.SEND: frozenset({TokenScope.READ}),
    TokenScope.ADMIN: frozenset(TokenScope),
    TokenScope.METRICS: frozenset[TokenScope](),
    TokenScope.SERVE: frozenset[TokenScope](),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: an agent, or (with None) an administrator or a service.

    None alone opens nothing: the scope says what the caller may do.
    """

    agent: str | None
    scope: TokenScope

    def may(self, needed: TokenScope) -> bool:
        """Whether the caller has that scope."""
        return self.scope.includes(needed)

    def narrowed(self, agent: str) -> Principal | None:
        """The caller as that agent and no more; None if the token may not act for it.

        Administrators and `serve` may act for every agent, then with the scope `send`. An agent's
        token may act for its own agent, and keeps its scope. `metrics` may act for nobody.
        """
        if self.agent is not None:
            return self if self.agent == agent else None
        return Principal(agent, TokenScope.SEND) if self.may(TokenScope.SERVE) else None


class TokenVerifier(Protocol):
    """Knows tokens. Where it cannot tell it raises Retryable or answers None, never a guess."""

    async def verify(self, token: str) -> Principal | None:
        """Who the token belongs to; None where it is nobody's."""
        ...


class TokenEntry(BaseModel):
    """One token in the file, as its hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scope: TokenScope
    agent: str | None = None
    created_at: str = ""
    note: str = ""

    @model_validator(mode="after")
    def _has_an_agent_if_the_scope_wants_one(self) -> Self:
        if (self.agent is not None) != self.scope.of_an_agent:
            raise ValueError("scopes read and send want an agent, the others want none")
        return self


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[TokenEntry, ...] = ()


class TokenFile:
    """The tokens of a workspace, as they are at each call. Without the file there are none."""

    def __init__(self, workspace: Path) -> None:
        self._path = _tokens_path(workspace)
        self._stamp: tuple[int, int, int] | None = None
        self._entries: tuple[TokenEntry, ...] = ()

    async def verify(self, token: str) -> Principal | None:
        """Who the token belongs to; takes the same time whichever entry it is."""
        digest = _digest(token)
        found = None
        for entry in self._current():
            if hmac.compare_digest(entry.sha256, digest):
                found = Principal(entry.agent, entry.scope)
        return found

    def _current(self) -> tuple[TokenEntry, ...]:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._entries = self._read_or_nobody()
        return self._entries

    def _read_or_nobody(self) -> tuple[TokenEntry, ...]:
        try:
            return _read(self._path).tokens
        except ConfigError as error:
            log.error("%s; until then every token is refused", error)  # noqa: TRY400 - no defect
            return ()


class ShownToken:
    """The token that a program shows to the api: TURNSTREAM_TOKEN, or what a file holds now.

    TURNSTREAM_TOKEN_FILE names the file. It is read again when it has changed, so that a token that
    is made later, or replaced, needs no restart.
    """

    def __init__(self, token: str | None = None, path: Path | None = None) -> None:
        self.path = path
        self._token = token
        self._stamp: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """The one that the environment gives; the variable itself counts before the file."""
        token, file = environ.get("TURNSTREAM_TOKEN") or None, environ.get("TURNSTREAM_TOKEN_FILE")
        return cls(token, Path(file) if file and token is None else None)

    def current(self) -> str | None:
        """The token as it is now; None if there is none, or its file cannot be read."""
        if self.path is None:
            return self._token
        stamp = _stamp(self.path)
        if stamp != self._stamp:
            self._token = _text_of(self.path)
            self._stamp = stamp
        return self._token

    @property
    def place(self) -> str:
        """Where the token is looked for, for messages."""
        return str(self.path or "TURNSTREAM_TOKEN")


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def create_token(
    workspace: Path, *, scope: TokenScope, agent: str | None = None, note: str = ""
) -> tuple[str, TokenEntry]:
    """Make a token: the token itself, which nothing keeps, and its entry.

    Raises ConfigError if the file cannot be used, if `read` or `send` come without an agent, or
    another scope with one.
    """
    token = TOKEN_PREFIX + secrets.token_hex(_TOKEN_BYTES)
    try:
        entry = TokenEntry(
            id=secrets.token_hex(4),
            sha256=_digest(token),
            scope=scope,
            agent=agent,
            created_at=times.render(times.now()),
            note=note,
        )
    except ValidationError:
        raise ConfigError(
            "a token is either an agent's (read or send) or has the scope admin, metrics or serve "
            "and no agent"
        ) from None
    _change(workspace, lambda entries: (*entries, entry))
    return token, entry


def list_tokens(workspace: Path) -> tuple[TokenEntry, ...]:
    """The entries, oldest first; raises ConfigError where the file cannot be used."""
    return _read(_tokens_path(workspace)).tokens


def revoke_token(workspace: Path, token_id: str) -> bool:
    """Remove the entry of that id; False where there is none. Takes effect with the next call."""
    before = _change(workspace, lambda entries: tuple(e for e in entries if e.id != token_id))
    return any(entry.id == token_id for entry in before)


def ensure_admin_token(workspace: Path) -> str:
    """The administrator's token in `{workspace}/token`; made where there is none that works."""
    return ensure_token(
        workspace, workspace / TOKEN_FILE, scope=TokenScope.ADMIN, note="made by turnstream up"
    )


def ensure_token(workspace: Path, path: Path, *, scope: TokenScope, note: str) -> str:
    """The token of that scope in the file at `path`; made where there is none that works."""
    token = _working(workspace, path, scope)
    if token is not None:
        return token
    with _usable(path):
        make_private_directory(workspace)
        make_private_directory(path.parent)
        # Several processes may start at once: the first one makes it.
        with locked(path.with_suffix(".lock")):
            token = _working(workspace, path, scope)
            if token is None:
                token, _ = create_token(workspace, scope=scope, note=note)
                replace_file(path, f"{token}\n")
    return token


def _working(workspace: Path, path: Path, scope: TokenScope) -> str | None:
    """The token of that scope in that file; None where there is none that works."""
    with contextlib.suppress(FileNotFoundError), _usable(path):
        token = path.read_text(encoding="utf-8", errors="replace").strip()
        known = [e for e in list_tokens(workspace) if e.scope is scope]
        if any(hmac.compare_digest(entry.sha256, _digest(token)) for entry in known):
            return token
    return None


def _tokens_path(workspace: Path) -> Path:
    return workspace / "tokens.json"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What differs between two versions of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> _Document:
    with _usable(path):
        try:
            return _Document.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return _Document()
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the document"
            raise ConfigError(f"fix or remove {path}: {where}: {first['msg']}") from None


def _change(
    workspace: Path,
    change: Callable[[tuple[TokenEntry, ...]], tuple[TokenEntry, ...]],
) -> tuple[TokenEntry, ...]:
    """Write all entries again, one process at a time; gives them as they were before."""
    path = _tokens_path(workspace)
    with _usable(path):
        make_private_directory(workspace)
        with locked(path.with_suffix(".lock")):
            before = _read(path).tokens
            text = _Document(tokens=change(before)).model_dump_json(indent=2)
            replace_file(path, f"{text}\n")
    return before


@contextmanager
def _usable(path: Path) -> Generator[None]:
    """Say of an error of the file system which file it is about; absence is no such error."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot use {path}: {error.strerror}; fix its permissions") from error
