"""Long texts are cut where a reader would cut them, and never beyond the limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.channels.splitting import split_markdown, split_text, units


@given(st.text(max_size=300), st.integers(min_value=4, max_value=50))
def test_every_piece_fits_and_nothing_but_blanks_is_lost(text: str, limit: int):
    pieces = split_text(text, limit)
    assert all(0 < units(piece) <= limit for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        (" \n ", []),
        ("0123456789", ["0123456789"]),
        ("one\n\ntwo three", ["one\n\ntwo", "three"]),
        ("eleven\n\nsigns", ["eleven", "signs"]),
        ("seven a\nb c d", ["seven a", "b c d"]),
        ("words are kept", ["words are", "kept"]),
        ("0123456789abc", ["0123456789", "abc"]),
        ("\U0001f600" * 6, ["\U0001f600" * 5, "\U0001f600"]),
        ("123456789e\u0301", ["123456789", "e\u0301"]),
        ("1234567\U0001f468\u200d\U0001f469", ["1234567", "\U0001f468\u200d\U0001f469"]),
        ("1234567\U0001f1e9\U0001f1ea", ["1234567", "\U0001f1e9\U0001f1ea"]),
    ],
)
def test_a_text_is_cut_at_the_best_place_of_its_second_half(text: str, pieces: list[str]):
    assert split_text(text, 10) == pieces


@given(
    st.lists(
        st.sampled_from(
            [
                "word " * 5,
                "x = 1\n",
                "    y\n",
                "\n\n",
                "```\n",
                "\n```py\n",
                "1. a\n   ```sh\n",
                "```",
            ]
        ),
        max_size=80,
    ),
    st.integers(min_value=100, max_value=200),
)
def test_every_piece_has_whole_code_blocks(parts: list[str], limit: int):
    text = "".join(parts)
    text += "```" if text.count("```") % 2 else ""
    pieces = split_markdown(text, limit)
    assert all(0 < units(piece) <= limit for piece in pieces)
    assert all(piece.count("```") % 2 == 0 for piece in pieces)
    assert "".join(pieces).count("x = 1") == text.count("x = 1")
    assert "".join(pieces).count("word") == text.count("word")


LINES = "a line of code\n" * 5


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        # In a list, a fence is indented.
        (
            f"1. Do:\n   ```sh\n{LINES}{LINES}   ```",
            [f"1. Do:\n   ```sh\n{LINES}```", f"   ```sh\n{LINES}   ```"],
        ),
        # A block ends wherever the fence stands.
        (f"```\n{LINES}end()```\nSo.", [f"```\n{LINES}end()```\nSo."]),
        (f"```\nx```\n{'so ' * 60}", ["```\nx```\n" + ("so " * 30)[:-1], ("so " * 30)[:-1]]),
        # Nothing of a block is left for a piece.
        (f"{'so ' * 30}\n```sh\n{LINES}```", [("so " * 30)[:-1], f"```sh\n{LINES}```"]),
    ],
)
def test_code_blocks_are_cut_where_a_reader_would_cut_them(text: str, pieces: list[str]):
    assert split_markdown(text, 100) == pieces
