"""Reads a configuration: the file (if any), then the environment, which has the last word."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from sessions.errors import ConfigError
from sessions.process.config.notices import ConfigNotice, NoticeKind
from sessions.process.config.own import check_own
from sessions.process.config.recognition import (
    ZEROCLAW_FILE,
    FileDialect,
    dialect_of,
    has_foreign_names,
)
from sessions.process.config.tables import table_of
from sessions.process.config.zeroclaw.translating import translate
from sessions.process.settings import OwnSettings, Settings, merge, place, validated

ENV_PREFIX: Final = "TURNSTREAM_"
# The settings file that is found without being named. Only in the workspace: one in the current
# directory would let a downloaded folder choose to whom the token is shown.
SETTINGS_FILE: Final = "turnstream.toml"
# Settings whose variables hold several values.
_LISTS: Final = frozenset({"allowed_hosts", "trusted_proxies"})
# Variables with our prefix that are no settings: what the supervisor tells its children, the file
# and the token.
_NOT_SETTINGS: Final = frozenset(
    {"progress_fd", "lifeline_fd", "config", "token", "token_file", "announced"}
)


class Configuration(NamedTuple):
    """The settings, where they are from, and what a person should know about that.

    `file` is None if there is none.
    """

    settings: Settings
    file: Path | None
    dialect: FileDialect
    notices: tuple[ConfigNotice, ...]


def settings_path(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The settings file that is meant: `config`, else what `TURNSTREAM_CONFIG` names, else none."""
    named = environ.get("TURNSTREAM_CONFIG")
    return config or (Path(named) if named is not None else None)


def found_in(workspace: Path) -> Path | None:
    """The settings file that is in a workspace: ours, else ZeroClaw's; None if there is none."""
    own, foreign = workspace / SETTINGS_FILE, workspace / ZEROCLAW_FILE
    if own.is_file():
        return own
    if foreign.is_file() and dialect_of(_read(foreign), foreign, workspace) is FileDialect.ZEROCLAW:
        return foreign
    return None


def load_settings(config: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the file (if any) and the environment; raises ConfigError that names the culprit.

    Without `config`, `TURNSTREAM_CONFIG` names the file; without both there is none.
    """
    return load_configuration(config, environ).settings


def load_configuration(
    config: Path | None, environ: Mapping[str, str], *, workspace: Path | None = None
) -> Configuration:
    """The same with all that is known about it; `workspace` wins over what file and variables say.

    Raises ConfigError.
    """
    file = settings_path(config, environ)
    over = place(_from_environment(environ))
    if workspace is not None:
        over = merge(over, place({"workspace": workspace.absolute()}))
    if file is None:
        return Configuration(validated(over), None, FileDialect.TURNSTREAM, ())
    document = _read(file)
    dialect = dialect_of(document, file, _workspace(document, over))
    if dialect is FileDialect.ZEROCLAW:
        translated, notices = translate(document, environ)
        return Configuration(validated(merge(translated, over)), file, dialect, tuple(notices))
    settings = validated(merge(document, over))
    return Configuration(settings, file, dialect, (*check_own(document), *_foreign(document)))


def _workspace(document: Mapping[str, Any], over: Mapping[str, Any]) -> Path:
    """The workspace before anything is checked: whose file this is may depend on it."""
    default = OwnSettings.model_fields["workspace"].default
    named = table_of(merge(document, over).get("turnstream")).get("workspace", default)
    return Path(str(named)).expanduser().absolute()


def _foreign(document: Mapping[str, Any]) -> tuple[ConfigNotice, ...]:
    if not has_foreign_names(document):
        return ()
    text = (
        "it has sections of ZeroClaw's, which have no effect here; if it is ZeroClaw's file, write "
        'dialect = "zeroclaw" into [turnstream]'
    )
    return (ConfigNotice(NoticeKind.WARNING, "the settings file", text),)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if environ.get("REDIS_URL"):
        found["redis_url"] = environ["REDIS_URL"]
    for name, value in environ.items():
        field = name.removeprefix(ENV_PREFIX).lower()
        if name.startswith(ENV_PREFIX) and value and field not in _NOT_SETTINGS:
            found[field] = value.split(",") if field in _LISTS else value
    return found


__all__ = [
    "SETTINGS_FILE",
    "Configuration",
    "found_in",
    "load_configuration",
    "load_settings",
    "settings_path",
]
