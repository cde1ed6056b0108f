"""Fields, types, bounds and reasons of the stream stand in its contract."""

from __future__ import annotations

import re

from sessions import wire
from sessions.models import Event, EventType, OutcomeKind, Reason
from tests.docs.pages import Pages, section, table_names


def test_every_field_is_documented(pages: Pages) -> None:
    fields = table_names(section(pages["stream-contract.md"], "## Fields"))
    assert fields == {"v", *Event._fields}


def test_every_type_is_documented(pages: Pages) -> None:
    types = table_names(section(pages["stream-contract.md"], "## Types"))
    assert types == set(EventType)


def test_every_reason_is_documented_with_its_meaning(pages: Pages) -> None:
    text = section(pages["stream-contract.md"], "## Outcomes and reasons")
    assert table_names(text) == set(Reason)
    for kind in OutcomeKind:
        assert f"`{kind}`" in text


def test_the_bounds_are_the_ones_of_the_code(pages: Pages) -> None:
    text = section(pages["stream-contract.md"], "## Fields")
    for name, bound in (
        ("id", "1 to 128 characters"),
        ("session", f"1 to {wire.MAX_SESSION} bytes"),
        ("role", f"1 to {wire.MAX_ROLE} bytes"),
        ("content", f"up to {wire.DEFAULT_MAX_CONTENT // 1024} KiB"),
        ("name", f"up to {wire.MAX_LABEL} bytes"),
    ):
        [row] = re.findall(rf"^\| `{name}` \|.*$", text, re.M)
        assert bound in row


def test_the_events_of_the_examples_are_valid(pages: Pages) -> None:
    text = pages.everything.replace("\\\n", " ")
    found = re.findall(r"XADD turnstream:turns '\*' (.+)", text)
    assert len(found) >= 4
    for line in found:
        words = [quoted or bare for quoted, bare in re.findall(r"'([^']*)'|(\S+)", line)]
        wire.parse(dict(zip(words[::2], words[1::2], strict=True)))
