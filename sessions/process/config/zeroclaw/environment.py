"""ZeroClaw's variables: `ZEROCLAW_providers__models__openai__home__api_key` sets that setting."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

from sessions.errors import ConfigError
from sessions.process.config.tables import is_table, table_of

PREFIX: Final = "ZEROCLAW_"
# Its settings are in lower case. Other variables of that beginning are not for the file.
_SETTING: Final = re.compile(rf"{PREFIX}([a-z0-9]\w*)", re.ASCII)
# How it marks what it has encrypted, or keeps in a password manager.
_SEALED: Final = ("enc2:", "enc:", "op://")


def with_variables(document: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The document with what the variables set. Raises ConfigError for one that fits nowhere."""
    changed = copy.deepcopy(dict(document))
    for name, value in sorted(environ.items()):
        found = _SETTING.fullmatch(name)
        if found is not None and found[1] == found[1].lower():
            _set(changed, found[1].split("__"), value, name)
    return changed


def _set(document: dict[str, Any], path: list[str], value: str, variable: str) -> None:
    table = document
    for name in path[:-1]:
        below = table.setdefault(name, {})
        if not is_table(below):
            raise ConfigError(f"the variable {variable} fits nowhere: {name} is no table")
        table = table_of(below)
    table[path[-1]] = _value(value)


def _value(text: str) -> Any:
    """What a variable means: a number, a truth, a list or a table, else its text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def variable_of(setting: str) -> str:
    """The variable that sets that setting."""
    return f"{PREFIX}{setting.replace('.', '__')}"


def check_readable(setting: str, secret: str, instead: str = "") -> str:
    """The secret; raises ConfigError for one that only ZeroClaw can read."""
    if not secret.startswith(_SEALED):
        return secret
    raise ConfigError(
        f"{setting} is encrypted or kept elsewhere by ZeroClaw, and cannot be read here: set the "
        f"variable {variable_of(setting)} to the secret itself{instead}"
    )


__all__ = ["check_readable", "variable_of", "with_variables"]
