"""Lua scripts: what Redis does in one step."""
