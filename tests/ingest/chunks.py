"""Streams of chunks, as generated: what servers send, and what no server should."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# Every character, halves of some among them.
texts = st.text(st.characters(exclude_categories=()), max_size=8)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
contents: st.SearchStrategy[Any] = st.one_of(
    texts,
    st.sampled_from(["", "so", " ", "\ud83d", "\ude00", None]),
    st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), max_size=2),
    json_values,
)


def either(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly as it should be, now and then anything."""
    return st.one_of(usual, usual, usual, usual, json_values)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object in which each of these fields may be missing."""
    return st.fixed_dictionaries({}, optional=fields)


ids = st.sampled_from(["a", "b", "", None, "é", "a" * 200])
names = st.sampled_from(["sessions_list", "sessions_current", "sessions_", "list", "", None])
arguments = st.sampled_from(["", "{}", "{", "}", '{"limit":', '"10"}', "[]", "NaN", "null", None])
pieces = some(
    index=either(st.sampled_from([0, 1, 2, "0", None])),
    id=either(ids),
    type=st.just("function"),
    function=either(some(name=either(names), arguments=either(arguments))),
)
deltas = some(
    role=st.just("assistant"),
    content=contents,
    refusal=st.none() | texts,
    reasoning_content=texts,
    tool_calls=either(st.lists(either(pieces), max_size=3)),
    function_call=either(some(name=names, arguments=arguments)),
)
finishes = st.sampled_from([None, None, None, "", "stop", "tool_calls", "length"])
choices = some(
    index=either(st.sampled_from([0, 0, 0, 1])),
    delta=either(deltas),
    message=either(deltas),
    finish_reason=either(finishes),
)
usages = some(prompt_tokens=json_values, completion_tokens=either(st.integers(0, 99)))
chunks: st.SearchStrategy[Any] = either(
    some(choices=either(st.lists(either(choices), max_size=2)), usage=either(usages))
)
plain = st.builds(
    lambda text: {"choices": [{"index": 0, "delta": {"content": text}}]},
    st.sampled_from(["Hello", " ", "you", "\ud83d", "\ude00"]),
)
calls = st.builds(
    lambda piece: {"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]},
    st.fixed_dictionaries(
        {"function": st.fixed_dictionaries({"name": names, "arguments": arguments})},
        optional={"index": st.sampled_from([0, 1]), "id": ids},
    ),
)
errors = st.one_of(
    st.builds(lambda error: {"error": error}, json_values),
    st.builds(lambda error: {"choices": [{"error": error, "delta": None}]}, json_values),
)
ends = st.sampled_from(
    [
        {"choices": [{"index": 0, "delta": {}, "finish_reason": word}]}
        for word in ("stop", "stop", "stop", "length", "content_filter", "tool_calls")
    ]
)


def streams() -> st.SearchStrategy[list[Any]]:
    """A sequence of chunks, most of which end as they should."""
    usual = st.lists(st.one_of(plain, plain, calls, chunks, chunks), max_size=8)
    ended = st.builds(
        lambda some, one, end: [*some, one, end], usual, st.one_of(plain, calls), ends
    )
    return st.one_of(ended, ended, ended, st.lists(st.one_of(plain, calls, chunks, errors)))
