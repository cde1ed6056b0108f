"""The Lua scripts that Redis runs for us, put together from their files."""

from __future__ import annotations

from importlib import resources


def script_text(*names: str) -> str:
    """The files of these names (without `.lua`), one behind the other."""
    folder = resources.files("sessions.stream.lua")
    return "\n".join(folder.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in names)
