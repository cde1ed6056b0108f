"""Our own dialect: what a file has that our settings do not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel

from sessions.errors import ConfigError
from sessions.process.config.notices import ConfigNotice, NoticeKind
from sessions.process.config.tables import table_of
from sessions.process.settings import Settings
from sessions.process.suggestions import nearest

# An unknown name in it is an error.
_STRICT: Final = "turnstream"


def check_own(document: Mapping[str, Any]) -> list[ConfigNotice]:
    """What is to be told of a file in our dialect.

    Raises ConfigError for an agent's key that stands in it: files are copied and shown.
    """
    for alias, agent in table_of(document.get("agents")).items():
        if "api_key" in table_of(agent):
            raise ConfigError(
                f"setting agents.{alias}.api_key: a key does not belong into the file; put it into "
                "a variable, and the variable's name into api_key_env"
            )
    return [*_misspelt(document, Settings, "")]


def _misspelt(
    table: Mapping[str, Any], model: type[BaseModel], where: str
) -> Iterator[ConfigNotice]:
    """The names in a table that are none of ours and much like one."""
    for name, value in table.items():
        place = f"{where}{name}"
        if name not in model.model_fields:
            meant = nearest(name, model.model_fields)
            if meant is not None:
                text = f"there is none of that name, so it is left out; did you mean {meant}?"
                yield ConfigNotice(NoticeKind.WARNING, place, text)
        elif place != _STRICT:
            yield from _below(table_of(value), model, name, place)


def _below(
    table: Mapping[str, Any], model: type[BaseModel], name: str, place: str
) -> Iterator[ConfigNotice]:
    """The same for a table in a table: one of ours, or one with a table for each alias."""
    kind = model.model_fields[name].annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from _misspelt(table, kind, f"{place}.")
        return
    each = get_args(kind)[-1] if get_args(kind) else None
    if isinstance(each, type) and issubclass(each, BaseModel):
        for alias, own in table.items():
            yield from _misspelt(table_of(own), each, f"{place}.{alias}.")


__all__ = ["check_own"]
