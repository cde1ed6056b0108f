"""Which failed turns are taken back: those that would fail again whatever follows."""

from __future__ import annotations

import pytest

from ingest.failures import AgentError, code_of, is_context_overflow, should_roll_back


@pytest.mark.parametrize(
    "error",
    [
        AgentError("no images here", capability="Vision"),
        AgentError("bad request", status=400),
        AgentError("nope", status=404),
        AgentError("the provider said 422 to this"),
        AgentError("Invalid API key"),
        AgentError("api key not set", status=500),
        AgentError("Permission denied for this project"),
        AgentError("model gpt-9 does not exist"),
        AgentError("unknown model"),
    ],
    ids=str,
)
def test_a_turn_that_cannot_succeed_is_taken_back(error: AgentError):
    assert should_roll_back(error)


@pytest.mark.parametrize(
    "error",
    [
        AgentError("try later", status=429),
        AgentError("timeout", status=408),
        AgentError("overloaded", status=503),
        AgentError("the provider said 429 to this"),
        AgentError("connection reset"),
        AgentError("error 4012 of the proxy"),
        AgentError("the model is busy"),
        AgentError("This model's maximum context length is 8192 tokens", status=400),
        AgentError("Invalid schema for function 'x'", status=400),
        AgentError("no audio here", capability="audio"),
    ],
    ids=str,
)
def test_a_turn_that_may_succeed_later_stays_and_is_closed(error: AgentError):
    assert not should_roll_back(error)


def test_a_prompt_that_is_too_long_is_told_by_its_text():
    assert is_context_overflow(AgentError("context_length_exceeded", status=400))
    assert not is_context_overflow(AgentError("bad request", status=400))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AgentError("no", status=401), "AUTH_ERROR"),
        (AgentError("Incorrect API key"), "AUTH_ERROR"),
        (AgentError("overloaded", status=529), "PROVIDER_ERROR"),
        (AgentError("no agent 'x' is configured here"), "AGENT_ERROR"),
    ],
    ids=str,
)
def test_the_gateway_names_the_kind_of_failure(error: AgentError, code: str):
    assert code_of(error) == code
