"""Times keep every digit that ZeroClaw wrote."""

from __future__ import annotations

import pytest

from sessions.zeroclaw import chrono

WRITTEN = (
    "2026-03-01T10:00:00+00:00",
    "2026-03-01T10:00:00.120+00:00",
    "2026-03-01T10:00:00.123456+00:00",
    "2026-03-01T10:00:00.123000+00:00",
    "2026-03-01T10:00:00.123456789+00:00",
    "2026-03-01T10:00:00.000000001+00:00",
    "2026-03-01T11:00:00+01:00",
    "2026-03-01T10:00:00Z",
    "1000-01-01T00:00:00+00:00",
)


@pytest.mark.parametrize("text", WRITTEN)
def test_a_time_goes_back_as_it_came(text: str) -> None:
    assert chrono.written(*chrono.taken(text)) == text


@pytest.mark.parametrize("text", WRITTEN[:3])
def test_what_can_be_made_again_is_not_kept(text: str) -> None:
    assert chrono.taken(text)[1] is None


@pytest.mark.parametrize("moment", [0, 1, 999, 1_000, 1_772_000_000_123_456_789, 10**18, -1])
def test_the_time_of_a_file_goes_back_as_it_came(moment: int) -> None:
    assert chrono.nanoseconds(*chrono.of_nanoseconds(moment)) == moment


def test_nine_digits_of_a_file_are_the_text_that_zeroclaw_would_write() -> None:
    assert chrono.of_nanoseconds(1_123_456_789) == (
        1_123_456,
        "1970-01-01T00:00:01.123456789+00:00",
    )
    assert chrono.of_nanoseconds(1_123_456_000) == (1_123_456, None)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-03-01", "2026-03-01T10:00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        chrono.taken(text)
