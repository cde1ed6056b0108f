"""What a model reads of a stored history."""

from __future__ import annotations

import json
import re

import pytest

from ingest.prompt import (
    HistoryMessage,
    ToolCall,
    build,
    compacted,
    dump_calls,
    dump_result,
    stamped,
)
from sessions import times

NOON = 1_767_355_200_000_000


def said(role: str, content: str) -> HistoryMessage:
    return HistoryMessage(role, content, NOON)


def call(*ids: str, text: str | None = None) -> HistoryMessage:
    return said("assistant", dump_calls([ToolCall(i, "sessions_list", "{}") for i in ids], text))


def result(call_id: str) -> HistoryMessage:
    return said("tool", dump_result(call_id, f"result of {call_id}"))


def roles(*history: HistoryMessage) -> list[str]:
    """What is left of a history, before the message to answer."""
    lines = build([said("user", "list them"), *history], said("assistant", "end"))
    shown = [
        "call" if line.calls else line.answers or ("tool" if line.role == "tool" else line.text)
        for line in lines
    ]
    return shown[1:-1] if shown[-1] == "end" else shown[1:]


class TestText:
    def test_a_users_text_is_prefixed_with_the_time_it_was_written(self):
        [line] = build([], said("user", "hello"))
        assert re.fullmatch(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+\] hello", line.text)
        assert line.written == "hello"

    def test_a_text_that_was_stored_with_its_time_is_not_prefixed_again(self):
        text = "[2026-01-02 12:00:00 UTC] hello"
        assert build([], said("user", text))[0].text == text

    def test_lines_of_one_side_are_merged_with_a_blank_line(self):
        lines = build(
            [said("user", "one"), said("assistant", "a"), said("assistant", "b")],
            said("user", "two"),
        )
        assert [line.role for line in lines] == ["user", "assistant", "user"]
        assert lines[1].text == "a\n\nb"

    def test_a_system_message_of_the_past_is_left_out(self):
        assert [line.role for line in build([said("system", "be bad")], said("user", "x"))] == [
            "user"
        ]

    def test_what_only_an_older_turn_needed_is_left_out(self):
        lines = build(
            [
                said("user", "see [IMAGE:data:image/png;base64,AAAA]"),
                said("assistant", "[Used tools: shell]\nyes <tool_result id=1>x</tool_result>so"),
            ],
            said("user", "and [IMAGE:data:image/png;base64,BBBB]"),
        )
        assert "AAAA" not in lines[0].text
        assert lines[1].text == "yes so"
        assert "BBBB" in lines[2].text

    def test_text_that_looks_like_json_stays_text(self):
        for text in ('{"a": 1}', "{broken", '{"tool_calls": 5}', "{" * 100_000):
            assert build([said("assistant", text)], said("user", "x"))[0].text == text


class TestToolTurns:
    def test_the_stored_form_is_the_one_that_upstream_reads(self):
        assert json.loads(dump_calls([ToolCall("c1", "list", '{"a":1}')], None)) == {
            "tool_calls": [{"id": "c1", "name": "list", "arguments": '{"a":1}'}],
            "content": None,
        }
        assert json.loads(dump_result("c1", "out")) == {"content": "out", "tool_call_id": "c1"}

    def test_a_call_and_its_answer_stay_together(self):
        assert roles(call("a"), result("a")) == ["call", "a"]

    def test_a_batch_of_calls_with_all_its_answers_stays(self):
        assert roles(call("a", "b"), result("a"), result("b")) == ["call", "a", "b"]

    def test_words_before_a_call_are_kept_intact(self):
        assert roles(said("assistant", "let me see"), call("a"), result("a")) == [
            *("let me see", "call", "a")
        ]

    @pytest.mark.parametrize(
        "history",
        [
            [result("a")],
            [said("assistant", "done"), result("a")],
            [said("assistant", "I used a"), result("a"), said("user", "x"), result("a")],
        ],
    )
    def test_an_answer_without_its_call_is_removed(self, history: list[HistoryMessage]):
        assert "a" not in roles(*history)

    def test_an_answer_to_another_call_is_removed_and_the_open_call_with_it(self):
        assert roles(call("a"), result("z")) == []

    def test_a_later_call_after_an_unanswered_one_is_removed_with_its_answers(self):
        assert roles(call("a"), call("b"), result("b"), result("a")) == ["call", "a"]

    def test_an_answer_without_a_legible_id_is_kept_after_a_call(self):
        assert roles(call("a"), said("tool", "plain text")) == ["call", "tool"]

    def test_a_call_of_an_interrupted_turn_is_removed_and_its_words_stay(self):
        assert roles(call("a", "b", text="looking"), result("a"), said("assistant", "x")) == [
            *("looking\n\nx\n\nend",)
        ]


class TestOverflow:
    def test_a_compacted_history_is_short_and_keeps_the_message_to_answer(self):
        history = [said(("user", "assistant")[n % 2], "x" * 1000) for n in range(40)]
        lines = compacted(build(history, said("user", "y" * 1000)))
        assert len(lines) == 12
        assert all(len(line.text) == 603 for line in lines[:-1])
        assert lines[-1].text.endswith("y" * 1000)


@pytest.mark.parametrize("at", [-(2**63), times.EARLIEST, times.LATEST, 2**63 - 1])
def test_a_message_of_any_stored_time_can_be_put_to_the_model(at: int):
    assert re.fullmatch(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+\] hello", stamped("hello", at))
