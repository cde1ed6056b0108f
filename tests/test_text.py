"""Texts made from texts, as upstream makes them."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from sessions.text import sanitize_key, trimmed


class TestSanitizedKeys:
    @pytest.mark.parametrize(
        ("key", "sanitised"),
        [
            ("slack_C123_1.2_user one", "slack_C123_1_2_user_one"),
            ("user_Алиса", "user_Алиса"),
            ("../tenant\\user/channel", "___tenant_user_channel"),
            ("", ""),
            ("a-b_C9", "a-b_C9"),
            ("😀\u200d", "__"),
            ("\x00\n\ud7ff", "___"),
        ],
    )
    def test_they_are_upstreams(self, key: str, sanitised: str):
        assert sanitize_key(key) == sanitised
        assert sanitize_key(sanitised) == sanitised

    @pytest.mark.parametrize("char", "\u0903\u0345\u24b6\U0001f130\u2160\u00bd\u0e31ªΐ")
    def test_what_rust_calls_alphanumeric_stays(self, char: str):
        """Marks that belong to letters, circled and squared letters, and numbers of all kinds."""
        assert sanitize_key(char) == char

    @pytest.mark.parametrize("char", "\u0301\u200c\u20dd€“\u3000·")
    def test_other_marks_and_signs_do_not(self, char: str):
        assert sanitize_key(char) == "_"

    def test_every_letter_and_number_of_unicode_stays_and_no_sign_or_blank(self):
        for number in range(sys.maxunicode + 1):
            kind = unicodedata.category(chr(number))
            kept = sanitize_key(chr(number)) == chr(number)
            if kind[0] in "LN":
                assert kept, hex(number)
            elif kind[0] in "PZC" and kind != "Cn" and chr(number) not in "_-":
                assert not kept, hex(number)


class TestTrimmed:
    @pytest.mark.parametrize(
        ("text", "plain"),
        [
            ("ann", "ann"),
            (" a b ", "a b"),
            ("\t\n\x0b\x0c\r\x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000x", "x"),
            ("\x1cann\x1f", "\x1cann\x1f"),
            (" \x1c ", "\x1c"),
            ("\u200bx\ufeff", "\u200bx\ufeff"),
            (" \n ", ""),
            ("", ""),
        ],
    )
    def test_blanks_are_unicodes(self, text: str, plain: str):
        assert trimmed(text) == plain
