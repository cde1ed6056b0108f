"""The lines of the pages are short."""

from __future__ import annotations

from typing import Final

from tests.docs.pages import Pages

# Bytes of UTF-8. What fits in an editor beside a second file, and in a review.
MOST_BYTES: Final = 120


def test_no_line_is_too_long(pages: Pages) -> None:
    long = [
        f"{page.name}:{number} is too long"
        for page, text in pages.texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if len(line.encode()) > MOST_BYTES
    ]
    assert long == []
