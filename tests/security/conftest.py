"""The summary of a run: how many cases of each kind were tried, and what the attacks did."""

from __future__ import annotations

from collections import Counter

import pytest

MANY = 10_000


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Add up what the tests reported, those of other processes too."""
    kinds, lines = Counter[str](), list[str]()
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "security" and isinstance(value, dict):
                kinds.update(value)
            elif name == "attack":
                lines.append(str(value))
    totals = [name for name in ("all", "chats", "races") if name in kinds]
    # Of a few cases the kinds are of no interest.
    shown = sorted(kinds.keys() - {"all", "chats", "races"}) if kinds["all"] > MANY else []
    for name in [*shown, *totals]:
        terminalreporter.write_line(f"{kinds[name]:7} {name}")
    for line in lines:
        terminalreporter.write_line(line)
