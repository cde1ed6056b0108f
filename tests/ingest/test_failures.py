"""Which failed turns are taken back: those whose message can never be answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.agents.values import clean, cut, is_blank
from ingest.failures import (
    FAILED,
    AgentError,
    ProviderError,
    closed_with,
    code_of,
    is_context_overflow,
    should_roll_back,
)

WORDS = [
    *("no", "unknown model", "the provider said 422 to this", "Invalid API key", "not found"),
    *(
        "412 precondition failed",
        "model gpt-9 does not exist",
        "Permission denied",
        "access denied",
    ),
]


@pytest.mark.parametrize(
    "error",
    [
        AgentError("no images here", capability="Vision"),
        AgentError("bad request", status=400),
        AgentError("too large", status=413),
        AgentError("this text cannot be processed", status=422),
        AgentError("rejected by our safety system", status=400, parameter="messages[3].content"),
    ],
    ids=str,
)
def test_a_message_that_can_never_be_answered_is_taken_back(error: AgentError):
    assert should_roll_back(error)


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize(
    "status", [None, 200, 401, 402, 403, 404, 405, 407, 408, 409, 412, 425, 429, 500, 502, 503, 529]
)
def test_no_wording_takes_a_message_back_that_the_status_does_not(status: int | None, words: str):
    assert not should_roll_back(AgentError(words, status=status))


@pytest.mark.parametrize(
    "error",
    [
        AgentError("This model's maximum context length is 8192 tokens", status=400),
        AgentError("Invalid schema for function 'x'", status=400),
        AgentError("Unrecognized request argument supplied: stream_options", status=400),
        AgentError("no such thing", status=400, parameter="model"),
        AgentError("no", status=400, parameter="tools[0].function"),
        AgentError("no audio here", capability="audio"),
        AgentError("no", status=400, began=True),
    ],
    ids=str,
)
def test_what_is_wrong_with_the_set_up_keeps_the_message(error: AgentError):
    assert not should_roll_back(error)


def test_a_prompt_that_is_too_long_is_told_by_its_text_or_its_status():
    assert is_context_overflow(AgentError("context_length_exceeded", status=400))
    assert is_context_overflow(AgentError("no", status=413))
    assert not is_context_overflow(AgentError("bad request", status=400))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AgentError("no", status=401), "AUTH_ERROR"),
        (AgentError("overloaded", status=529), "PROVIDER_ERROR"),
        (ProviderError("it cannot be reached"), "PROVIDER_ERROR"),
        (AgentError("Incorrect API key"), "AGENT_ERROR"),
        (AgentError("no agent 'x' is configured here"), "AGENT_ERROR"),
    ],
    ids=str,
)
def test_the_gateway_names_the_kind_of_failure(error: AgentError, code: str):
    assert code_of(error) == code


@given(st.text(), st.integers(min_value=0, max_value=400))
def test_what_closes_a_turn_fits_and_keeps_what_was_shown(said: str, most: int):
    said = clean(said)
    text = closed_with(said, FAILED, most=most)
    assert len(text.encode()) <= most
    if most >= len(said.encode()) + len(FAILED.encode()) + 2:
        assert text == (f"{said}\n\n{FAILED}" if said.strip() else FAILED)
    if most >= len(FAILED.encode()) + 2:
        assert text.endswith(FAILED)


@given(st.text(st.characters(exclude_categories=())), st.integers(min_value=0, max_value=50))
def test_a_cut_text_is_a_beginning_of_clean_text(text: str, most: int):
    found = cut(clean(text), most)
    assert clean(text).startswith(found)
    assert len(found.encode()) <= most


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u2060", "\u3000", "\ufeff", "\u2800\u3164"])
def test_a_text_without_anything_to_see_is_blank(text: str):
    assert is_blank(text)


@pytest.mark.parametrize("text", [".", "日", "☕", " x ", "\u0301"])
def test_a_text_with_something_to_see_is_not(text: str):
    assert not is_blank(text)
