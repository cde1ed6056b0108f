"""Long texts are cut where a reader would cut them, and never beyond the limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.channels.splitting import split_text, units


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
    ],
)
def test_a_text_is_cut_at_the_best_place_of_its_second_half(text: str, pieces: list[str]):
    assert split_text(text, 10) == pieces
