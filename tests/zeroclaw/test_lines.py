"""Which lines ZeroClaw reads. The answers are those of serde_json, which was asked each of them."""

from __future__ import annotations

from typing import Final

import pytest

from sessions.zeroclaw.lines import NotAMessage, message_of

DEEP: Final = b"[" * 100_000 + b"]" * 100_000
MESSAGES: Final = {
    b'{"role":"user","content":"hi"}': ("user", "hi"),
    b' \t{ "content" : "hi" , "role" : "user" } \r': ("user", "hi"),
    b'["user","hi"]': ("user", "hi"),
    b'{"role":"","content":""}': ("", ""),
    b'{"role":"a","content":"b","x":1,"x":{"role":1,"role":2}}': ("a", "b"),
    b'{"r\\u006fle":"a","content":"\\u0062\\/"}': ("a", "b/"),
    b'{"role":"a","content":"b","x":1e999}': ("a", "b"),
    b'{"role":"a","content":"b","x":-0.5E-7}': ("a", "b"),
    b'{"role":"a","content":"b","x":' + b"9" * 5000 + b"}": ("a", "b"),
    b'{"role":"a","content":"\\ud83d\\ude00"}': ("a", "\U0001f600"),
    # Values that it does not need are stepped over, as long as they are JSON.
    b'{"role":"a","content":"b","x":"\\ud800"}': ("a", "b"),
    b'{"role":"a","content":"b","x":{"\\ud800":1}}': ("a", "b"),
    b'{"role":"a","x":' + DEEP + b',"content":"b"}': ("a", "b"),
    b'{"role":"a","x":' + b'{"k":' * 5000 + b'["\\ud800",{}]' + b"}" * 5000 + b',"content":"b"}': (
        "a",
        "b",
    ),
    '\u2003\x85{"role":"a","content":"b"}\u3000'.encode(): ("a", "b"),
    b'\x0b\x0c{"role":"a","content":"b"}\x0b': ("a", "b"),
    b'{"role":"a","content":"b\\u0000\x7f"}': ("a", "b\0\x7f"),
}
BLANK: Final = (b"", b"\r", b" \t ", "\u2003\u3000\u1680\x85".encode(), b"\x0b\x0c")
NOT_UTF8: Final = (
    b'{"role":"a","content":"\xff"}',
    b'{"role":"a","content":"\xed\xa0\x80"}',
    b'{"role":"a","content":"\xc0\x80"}',
    '{"role":"a","content":"b"}'.encode("utf-16"),
    b"\xff",
)
NOT_JSON: Final = (
    b"x",
    b"\x00",
    b"\x1f",
    b'\x1c{"role":"a","content":"b"}',
    b'\xef\xbb\xbf{"role":"a","content":"b"}',
    '\u200b{"role":"a","content":"b"}'.encode(),
    '{\u2003"role":"a","content":"b"}'.encode(),
    b'{"role":"a","content":"b"',
    b'{"role":"a","content":"b"}}',
    b'{"role":"a","content":"b"}{"role":"a","content":"b"}',
    b'{"role":"a","content":"b",}',
    b'{"role":"a",,"content":"b"}',
    b'{"role":"a" "content":"b"}',
    b"{'role':'a','content':'b'}",
    b'{role:"a","content":"b"}',
    b'{"role":"a","content":"b\x00"}',
    b'{"role":"a","content":"b\t"}',
    b'{"role":"a","content":"b","x":NaN}',
    b'{"role":"a","content":"b","x":Infinity}',
    b'{"role":"a","content":"b","x":-Infinity}',
    b'{"role":"a","content":"b","x":01}',
    b'{"role":"a","content":"b","x":1.}',
    b'{"role":"a","content":"b","x":.5}',
    b'{"role":"a","content":"b","x":+1}',
    b'{"role":"a","content":"b","x":-}',
    b'{"role":"a","content":"b","x":1E+}',
    b'{"role":"a","content":"b","x":nul}',
    b'{"role":"a","content":"b","x":truex}',
    b'{"role":"a","content":"b","x":[1,]}',
    b'{"role":"a","content":"b","x":{"a"}}',
    b'{"role":"a","content":"b","x":{1:1}}',
    b'{"role":"a","content":"b","x":"\\q"}',
    b'{"role":"a","content":"b","x":"\\u12G4"}',
    b'{"role":"a","x":' + DEEP[:-1] + b',"content":"b"}',
    b'{"role":"a","x":' + DEEP + b'],"content":"b"}',
    b'{"role":"a","x":' + DEEP.replace(b"[]", b"[1,]") + b',"content":"b"}',
    b'{"role":"a","x":' + DEEP.replace(b"[]", b'{"a"}') + b',"content":"b"}',
    b'{"role":"a","x":' + DEEP.replace(b"[]", b'["\x01"]') + b',"content":"b"}',
    b'{"role":"a","x":' + DEEP + b',"content":"b"} x',
    DEEP[:-1],
)
OTHERS: Final = (
    b"{}",
    b"[]",
    b"null",
    b'"x"',
    b"1",
    b'{"role":"a"}',
    b'{"Role":"a","content":"b"}',
    b'{"role":null,"content":"b"}',
    b'{"role":"a","content":5}',
    b'{"role":"a","content":["b"]}',
    b'{"role":"a","role":"a","content":"b"}',
    b'{"role":"a","content":"b","content":"b"}',
    b'{"role":"a","r\\u006fle":"a","content":"b"}',
    b'{"role":"a","x":' + DEEP + b',"content":"b","role":"c"}',
    b'{"role":"a","content":' + DEEP + b"}",
    b'["user"]',
    b'["user","hi","x"]',
    b'["user",1]',
    DEEP,
    b'{"role":"a","content":"\\ud800"}',
    b'{"role":"a","content":"\\udc00\\ud83d"}',
    b'{"role":"a","content":"\\ud83d\\u0041"}',
    b'{"role":"\\ud83d","content":"\\ude00"}',
    b'{"role":"a","content":"b","\\ud800":1}',
)


@pytest.mark.parametrize(("line", "message"), MESSAGES.items(), ids=range(len(MESSAGES)))
def test_a_message_is_read(line: bytes, message: tuple[str, str]) -> None:
    assert message_of(line) == message


@pytest.mark.parametrize("line", BLANK, ids=repr)
def test_a_blank_line_is_no_message(line: bytes) -> None:
    assert message_of(line) is None


@pytest.mark.parametrize("line", NOT_UTF8, ids=repr)
def test_what_is_not_utf_8_is_refused_as_that(line: bytes) -> None:
    with pytest.raises(NotAMessage, match="not UTF-8"):
        message_of(line)


@pytest.mark.parametrize("line", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_not_json_is_refused_as_that(line: bytes) -> None:
    with pytest.raises(NotAMessage, match="not JSON"):
        message_of(line)


@pytest.mark.parametrize("line", OTHERS, ids=range(len(OTHERS)))
def test_json_that_is_no_message_is_refused_for_another_reason(line: bytes) -> None:
    with pytest.raises(NotAMessage, match=r"^(?!it is not JSON)"):
        message_of(line)
