"""What servers of the chat completions API really send, and what they refuse."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.responses import JSONResponse, Response

from ingest.failures import CUT_SHORT, FAILED, WITHHELD
from ingest.turns.live import Ending
from sessions.process.settings import Settings
from tests.ingest.model_chat import ModelChat, model_chat
from tests.ingest.model_server import broken, call_piece, chunk, events, failure, raw, usage
from tests.leading import Leading

STOP = chunk({}, finish="stop")


def answering(*answers: Any) -> Callable[[dict[str, Any]], Any]:
    """A script that gives these answers, one for each request."""
    left: Iterator[Any] = iter(answers)
    return lambda _: next(left)


def sse(value: Any) -> str:
    return f"data: {json.dumps(value)}\n\n"


async def reply(place: ModelChat) -> str:
    return (await place.stored())[-1][1]


ODD_CHUNKS = {
    "choices null": {"choices": None},
    "choices absent": {"object": "chat.completion.chunk"},
    "choices a number": {"choices": 5},
    "delta null": {"choices": [{"index": 0, "delta": None}]},
    "delta absent": {"choices": [{"index": 0}]},
    "a choice null": {"choices": [None]},
    "content a list of nothing": chunk({"content": []}),
    "content an object": chunk({"content": {"a": 1}}),
    "content true": chunk({"content": True}),
    "tool calls an object": chunk({"tool_calls": {}}),
    "a tool call null": chunk({"tool_calls": [None]}),
    "thoughts": chunk({"reasoning_content": "hm", "content": None}),
    "usage a text": {"choices": [], "usage": "much"},
    "a number": 5,
    "a text": 'data: "text"\n\n',
    "null": None,
    "a comment": ": keep-alive\n\n",
    "an empty datum": "data:\n\n",
    "no JSON": "data: ping\n\n",
    "half JSON": 'data: {"choices": [\n\n',
    "deep JSON": f"data: {'[' * 100_000}\n\n",
    "an id": "id: 7\nretry: 5\nevent: message\n\n",
}


@pytest.mark.parametrize("odd", ODD_CHUNKS.values(), ids=ODD_CHUNKS)
async def test_a_chunk_that_says_nothing_changes_nothing(
    settings: Settings, leading: Leading, odd: Any
):
    script = answering(events(odd, chunk({"content": "a"}), odd, chunk({"content": "b"}), STOP))
    async with model_chat(settings, script) as place:
        end = await place.chat("hello")
        assert (end.ending, end.text, await reply(place)) == (Ending.REPLIED, "ab", "ab")


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ([[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]], "ab"),
        ([["a", {"text": {"value": "b"}}, {"type": "thinking", "text": "hm"}]], "ab"),
        (["a", 5, 1.5], "a51.5"),
        (["\ud83d", "\ude00"], "😀"),
        (["a\ud83d", None, "\ude00b"], "a😀b"),
        (["\ud83d", "x\ude00"], "\ufffdx\ufffd"),
        (["a", "\ud83d"], "a\ufffd"),
        (["a\u2028b\x85c"], "a\u2028b\x85c"),
    ],
    ids=str,
)
async def test_a_text_is_read_in_every_form(
    settings: Settings, leading: Leading, contents: list[Any], says: str
):
    script = answering(events(*(chunk({"content": each}) for each in contents), STOP))
    async with model_chat(settings, script) as place:
        end = await place.chat("hello")
        assert (end.text, await reply(place)) == (says, says)


WHOLE = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "body",
    [
        lambda: JSONResponse(WHOLE),
        lambda: raw(json.dumps(WHOLE, indent=2), media_type="application/json"),
        lambda: events(WHOLE),
        lambda: events(chunk({"content": "hi"}), WHOLE),
        lambda: raw(
            *(f"{json.dumps(each)}\n" for each in (chunk({"content": "hi"}), STOP)),
            media_type="application/x-ndjson",
        ),
        lambda: raw(
            " \n",
            *(f"{json.dumps(each)}\n  \n" for each in (chunk({"content": "hi"}), STOP)),
            media_type="application/x-ndjson",
        ),
        lambda: raw(
            "warming up\n",
            *(f"{json.dumps(each)}\n" for each in (chunk({"content": "hi"}), STOP)),
            media_type="application/x-ndjson",
        ),
        lambda: raw(*(sse(each)[:-1] for each in (chunk({"content": "hi"}), STOP))),
        lambda: raw(sse(chunk({"content": "hi"})).replace("\n", "\r\n"), sse(STOP)),
        lambda: raw(
            *(bytes([byte]) for byte in (sse(chunk({"content": "hi"})) + sse(STOP)).encode())
        ),
        lambda: broken(sse(chunk({"content": "hi"})), sse(STOP)),
    ],
    ids=[
        *("whole", "indented", "in a stream", "repeated", "lines", "lines and blanks"),
        *("lines behind another", "tight", "CRLF", "bytes", "cut"),
    ],
)
async def test_a_body_is_read_in_every_form(
    settings: Settings, leading: Leading, body: Callable[[], Response]
):
    async with model_chat(settings, lambda _: body()) as place:
        end = await place.chat("hello")
        assert (end.ending, end.text, await reply(place)) == (Ending.REPLIED, "hi", "hi")


SAID = chunk({"content": "I think"})


@pytest.mark.parametrize(
    "answer",
    [
        lambda: events(SAID),
        lambda: events(SAID, done=False),
        lambda: events(SAID, chunk({}, finish=7)),
        lambda: events(SAID, chunk({}, finish="")),
        lambda: broken(sse(SAID)),
        lambda: events(SAID, {"error": {"message": "overloaded, 412", "code": 400}}),
        lambda: events(SAID, {"error": "out of memory"}),
        lambda: events(SAID, {"object": "error", "message": "no", "code": 400}),
        lambda: events(SAID, {"choices": [{"error": {"message": "no"}, "delta": {}}]}),
        lambda: events(SAID, chunk({}, finish="error")),
        lambda: events(SAID, chunk({}, finish="abort")),
        lambda: events(SAID, chunk({}, finish="insufficient_system_resource")),
        lambda: events(SAID, 'event: error\ndata: {"message": "no"}\n\n'),
        lambda: events(SAID, chunk({"tool_calls": [call_piece("c", "x", {}, index=0)]})),
    ],
)
async def test_text_that_was_shown_is_kept_above_the_marker_when_the_answer_fails(
    settings: Settings, leading: Leading, answer: Callable[[], Response]
):
    async with model_chat(settings, lambda _: answer()) as place:
        end = await place.chat("hello")
        kept = f"I think\n\n{FAILED}"
        assert (end.ending, end.stored) == (Ending.FAILED, kept)
        assert await place.stored() == [("user", "hello"), ("assistant", kept)]


@pytest.mark.parametrize(
    ("finish", "marker"),
    [
        ("length", CUT_SHORT),
        ("model_length", CUT_SHORT),
        ("content_filter", WITHHELD),
        ("sensitive", WITHHELD),
        ("PROHIBITED_CONTENT", WITHHELD),
    ],
)
async def test_an_answer_that_the_provider_ended_is_kept_and_marked(
    settings: Settings, leading: Leading, finish: str, marker: str
):
    script = answering(events(SAID, chunk({}, finish=finish)))
    async with model_chat(settings, script) as place:
        end = await place.chat("hello")
        kept = f"I think\n\n{marker}"
        assert (end.ending, end.text, await reply(place)) == (Ending.REPLIED, kept, kept)


@pytest.mark.parametrize("finish", ["stop", "length", "content_filter", "tool_calls"])
@pytest.mark.parametrize("blank", ["", " \n", "\u200b", "\u2800"])
async def test_a_blank_answer_is_a_failure(
    settings: Settings, leading: Leading, blank: str, finish: str
):
    script = answering(events(chunk({"content": blank}), chunk({}, finish=finish)))
    async with model_chat(settings, script) as place:
        assert (await place.chat("hello")).ending is Ending.FAILED
        assert (await reply(place)).endswith(FAILED)


async def test_an_answer_beyond_what_a_message_may_have_is_cut_and_marked(
    settings: Settings, leading: Leading
):
    script = answering(events(*[chunk({"content": "é" * 10_000})] * 20, STOP))
    async with model_chat(settings, script) as place:
        end = await place.chat("hello")
        assert end.ending is Ending.REPLIED
        assert end.text.endswith(CUT_SHORT)
        assert 250_000 < len(end.text.encode()) <= 256 * 1024
        assert await reply(place) == end.text


# -- tool calls ----------------------------------------------------------------------------------


def pieces(*found: Any) -> list[Any]:
    return [chunk({"tool_calls": each if isinstance(each, list) else [each]}) for each in found]


def piece(name: str | None = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **more}


LIST, CURRENT = "sessions_list", "sessions_current"
CALLS = {
    "without index, one after the other": pieces(piece(LIST, "{}"), piece(CURRENT, "{}")),
    "without index, at once": pieces([piece(LIST, "{}"), piece(CURRENT, "{}")]),
    "without index, by id": pieces(
        piece(LIST, "", id="a"),
        piece(None, "{", id="a"),
        piece(None, "}", id="a"),
        piece(CURRENT, "{}", id="b"),
    ),
    "without index, in pieces": pieces(
        piece(LIST, "{"), piece(None, '"limit"'), piece(None, ":1}"), piece(CURRENT, "{}")
    ),
    "the same index for all": pieces(
        piece(LIST, "{}", index=0, id="a"), piece(CURRENT, "{}", index=0, id="b")
    ),
    "the same index, no ids": pieces(piece(LIST, "{}", index=0), piece(CURRENT, "{}", index=0)),
    "name and id in every piece": pieces(
        piece(LIST, "{", index=0, id="a"),
        piece(LIST, '"limit":1', index=0, id="a"),
        piece(LIST, "}", index=0, id="a"),
        piece(CURRENT, "{}", index=1, id="b"),
    ),
    "sent again as a whole": pieces(
        piece(LIST, '{"limit":1}', index=0, id="a"),
        piece(LIST, '{"limit":1}', index=0, id="a"),
        piece(CURRENT, "{}", index=1, id="b"),
    ),
    "an index that comes late": pieces(
        piece(LIST, "", id="a"),
        piece(None, "{", index=0),
        piece(None, "}", index=0),
        piece(CURRENT, "", id="b"),
        piece(None, "{}", index=1),
    ),
    "one id for both": pieces(
        piece(LIST, "{}", index=0, id="call_0"), piece(CURRENT, "{}", index=1, id="call_0")
    ),
    "a name in two pieces": pieces(
        piece("sessions_", "", index=0, id="a"),
        piece("list", "{}", index=0),
        piece(CURRENT, "{}", index=1, id="b"),
    ),
    "arguments as an object": pieces(piece(LIST, {"limit": 1}), piece(CURRENT, {})),
    "arguments null": pieces(piece(LIST, None, index=0), piece(CURRENT, None, index=1)),
    "an index as text": pieces(piece(LIST, "{}", index="0"), piece(CURRENT, "{}", index="1")),
    "mixed up": pieces(
        [piece(LIST, "{", index=0, id="a"), piece(CURRENT, "", index=1, id="b")],
        [piece(None, "{}", index=1), piece(None, "}", index=0)],
    ),
    "the old form": [
        chunk({"tool_calls": [piece(LIST, "{}")], "function_call": {"name": CURRENT}})
    ],
    "in a whole message": [
        {"choices": [{"message": {"tool_calls": [piece(LIST, "{}"), piece(CURRENT, "{}")]}}]}
    ],
}


@pytest.mark.parametrize("chunks", CALLS.values(), ids=CALLS)
async def test_calls_are_told_apart_in_every_dialect(
    settings: Settings, leading: Leading, chunks: list[Any]
):
    script = answering(events(*chunks, chunk({}, finish="tool_calls")), "done")
    async with model_chat(settings, script) as place:
        end = await place.chat("hello")
        stored = await place.stored()
        again = place.model.requests[-1]["messages"]
    calls = json.loads(stored[1][1])["tool_calls"]
    assert [call["name"] for call in calls] == [LIST, CURRENT]
    assert all(isinstance(json.loads(call["arguments"]), dict) for call in calls)
    assert len({call["id"] for call in calls}) == 2
    assert all(not json.loads(text)["content"].startswith("Error") for _, text in stored[2:4])
    assert [m["tool_call_id"] for m in again if m["role"] == "tool"] == [c["id"] for c in calls]
    assert end.text == "done"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("[" * 10_000, "Error: The arguments are not valid JSON"),
        ('{"limit": NaN}', "Error: The arguments are not valid JSON"),
        ('{"limit": 1e999}', "Error: "),
        ('{"limit": ' + "9" * 10_000 + "}", "Error: "),
        ('{"limit": 5', "Error: The arguments are not valid JSON"),
        ('{"cursor": "\\ud800"}', "Error: The arguments are not valid JSON"),
        ("[1]", "Error: The arguments must be one JSON object"),
        ('{"cursor": "' + "x" * 300_000 + '"}', "Error: The arguments are too long"),
        ('{"limits": 5}', "Error: Invalid 'limits': there is no such argument; did you mean"),
        ('{"limit": "10", "cursor": ""}', "Found 1 session"),
        ('{"limit": 10.0, "cursor": null}', "Found 1 session"),
        ('"{\\"limit\\": 10}"', "Found 1 session"),
        ("null", "Found 1 session"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_arguments_never_end_a_turn_and_the_model_is_told_what_to_correct(
    settings: Settings, leading: Leading, arguments: str, told: str
):
    script = answering([(LIST, arguments)], "done", "again")
    async with model_chat(settings, script) as place:
        end = await place.chat("hello")
        stored = await place.stored()
        await place.chat("and now?")
        [replayed] = [m for m in place.model.requests[-1]["messages"] if "tool_calls" in m]
    assert end.text == "done"
    assert json.loads(stored[2][1])["content"].startswith(told)
    [call] = json.loads(stored[1][1])["tool_calls"]
    assert isinstance(json.loads(call["arguments"]), dict)
    assert replayed["tool_calls"][0]["function"]["arguments"] == call["arguments"]


async def test_a_call_that_was_cut_off_is_not_made(settings: Settings, leading: Leading):
    cut = events(*pieces(piece(LIST, "", index=0)), chunk({}, finish="length"))
    async with model_chat(settings, answering(cut, "done")) as place:
        assert (await place.chat("hello")).text == "done"
        told = json.loads((await place.stored())[2][1])["content"]
    assert told.startswith("Error: The answer reached its length limit within this call")


async def test_too_many_calls_at_once_are_left_out_and_the_model_is_told(
    settings: Settings, leading: Leading
):
    async with model_chat(settings, answering([(LIST, {})] * 50, "done")) as place:
        assert (await place.chat("hello")).text == "done"
        outputs = [text for role, text in await place.stored() if role == "tool"]
    assert len(outputs) == 16
    assert "34 more calls were left out" in outputs[-1]


async def test_the_text_of_a_step_with_tools_is_kept_when_the_next_step_fails(
    settings: Settings, leading: Leading
):
    step = events(SAID, *pieces(piece(LIST, "{}")), chunk({}, finish="tool_calls"))
    async with model_chat(settings, answering(step, events(chunk({"content": " so"})))) as place:
        await place.chat("hello")
        assert await reply(place) == f"I think so\n\n{FAILED}"


async def test_all_of_a_turn_is_stored_though_messages_may_be_short(
    settings: Settings, leading: Leading
):
    own = settings.turnstream.model_copy(update={"max_content_bytes": 1500})
    settings = settings.model_copy(update={"turnstream": own})
    quotes = '"' * 900
    search = piece("sessions_search", json.dumps({"query": "x" * 600}))
    too_long = piece("sessions_search", json.dumps({"query": "x" * 800}))
    step = events(chunk({"content": quotes}), *pieces(search, too_long), STOP)
    async with model_chat(settings, answering(step, "done")) as place:
        assert (await place.chat("hello")).text == "done"
        stored = await place.stored()
    roles = ["user", "assistant", "assistant", "tool", "tool", "assistant"]
    assert [role for role, _ in stored] == roles
    assert stored[1][1] == quotes
    assert json.loads(stored[3][1])["content"].startswith("No messages found for 'xxx")
    assert (
        json.loads(stored[4][1])["content"]
        == "Error: The arguments are too long; send shorter ones."
    )


async def test_usage_is_what_the_provider_said_last(settings: Settings, leading: Leading):
    odd = {"choices": [], "usage": {"prompt_tokens": None, "completion_tokens": -1}}
    script = answering(events(SAID, usage(1, 1), STOP, usage(5, 2), odd))
    async with model_chat(settings, script) as place:
        end = await place.chat("hello")
    assert end.reply is not None
    assert (end.reply.usage.input_tokens, end.reply.usage.output_tokens) == (5, 2)


# -- what endpoints refuse -----------------------------------------------------------------------


def picky(refused: str, words: str, status: int = 400, **more: Any) -> Any:
    """A server that does not take a part of the request."""

    def script(request: dict[str, Any]) -> Any:
        return failure(status, words, **more) if refused in request else "fine"

    return script


@pytest.mark.parametrize(
    ("refused", "words", "status", "setting"),
    [
        ("tools", "m does not support tools", 400, "tools = false"),
        ("tools", "No endpoints found that support tool use", 404, "tools = false"),
        ("stream_options", "Unknown field: stream_options", 422, "stream_options = false"),
        ("stream", "streaming is not supported", 400, "stream = false"),
        ("top_k", "Extra inputs are not permitted: top_k", 422, "without it in extra_body"),
        ("max_tokens", "'max_tokens' is not supported, use 'max_completion_tokens'", 400, "max_c"),
    ],
)
async def test_a_part_that_the_endpoint_refuses_is_left_out_from_then_on(
    settings: Settings,
    leading: Leading,
    caplog: pytest.LogCaptureFixture,
    *,
    refused: str,
    words: str,
    status: int,
    setting: str,
):
    script = picky(refused, words, status)
    more = {"max_tokens": 9, "extra_body": {"top_k": 5}}
    async with model_chat(settings, script, **more) as place:
        for _ in range(2):
            assert (await place.chat("hello")).text == "fine"
        assert [refused in request for request in place.model.requests] == [True, False, False]
        limit = {key: v for key, v in place.model.requests[-1].items() if key.startswith("max_")}
    other = "max_completion_tokens" if refused == "max_tokens" else "max_tokens"
    assert limit == {other: 9}
    [line] = [r.getMessage() for r in caplog.records if "refuses" in r.getMessage()]
    assert f"refuses {refused} ({status})" in line
    assert setting in line


async def test_an_endpoint_that_refuses_several_parts_is_asked_without_each(
    settings: Settings, leading: Leading
):
    def script(request: dict[str, Any]) -> Any:
        for part in ("tools", "stream_options", "stream"):
            if part in request:
                return failure(400, "unsupported", param=part)
        return JSONResponse(WHOLE)

    async with model_chat(settings, script) as place:
        assert (await place.chat("hello")).text == "hi"
        assert (await place.chat("hello")).text == "hi"
        assert len(place.model.requests) == 5


async def test_an_empty_param_names_nothing(settings: Settings, leading: Leading):
    script = picky("tools", "m does not support tools", param="", type="", code="")
    async with model_chat(settings, script) as place:
        assert (await place.chat("hello")).text == "fine"
    script = answering(failure(400, "no such image", param="", type="", code=""))
    async with model_chat(settings, script) as place:
        await place.chat("and this?", session="gw_other")
        assert await place.stored("gw_other") == []


async def test_what_a_user_wrote_does_not_take_the_tools_away(settings: Settings, leading: Leading):
    def script(request: dict[str, Any]) -> Any:
        bad = "tools" in request["messages"][-1]["content"]
        return failure(400, "the text 'tools' is not allowed") if bad else "fine"

    async with model_chat(settings, script) as place:
        await place.chat("tools")
        assert (await place.chat("hello")).text == "fine"
        assert "tools" in place.model.requests[-1]


async def test_settings_avoid_the_detours_and_add_what_an_endpoint_wants(
    settings: Settings, leading: Leading, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TENANT_KEY", "secret")
    more = {
        **{"tools": False, "stream": False, "max_completion_tokens": 7},
        "extra_body": {"provider": {"order": ["a"]}},
        "extra_headers": {"X-Title": "home"},
        "extra_headers_env": {"X-Key": "TENANT_KEY"},
    }
    async with model_chat(settings, lambda _: JSONResponse(WHOLE), **more) as place:
        assert (await place.chat("hello")).text == "hi"
        [request] = place.model.requests
        [headers] = place.model.headers
    assert {*request} == {"model", "messages", "max_completion_tokens", "provider"}
    assert (request["max_completion_tokens"], request["provider"]) == (7, {"order": ["a"]})
    assert (headers["x-title"], headers["x-key"]) == ("home", "secret")


async def test_an_endpoint_without_tools_is_not_told_of_those_that_were_used_before(
    settings: Settings, leading: Leading
):
    async with model_chat(settings, answering([(LIST, {})], "one session")) as place:
        await place.chat("look")
    async with model_chat(settings, answering("fine"), tools=False) as place:
        await place.chat("and now?")
        roles = [message["role"] for message in place.model.requests[-1]["messages"]]
    assert roles == ["user", "assistant", "user"]


# -- the log -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda: failure(400, "SECRET", code="SECRET"), "provider's status 400: Bad Request"),
        (lambda: failure(403, "SECRET", code="insufficient_quota"), "403: insufficient_quota"),
        (lambda: failure(499, "SECRET"), "provider's status 499: an unknown status"),
        (lambda: events(chunk({"content": "SECRET"})), "status none: no finish_reason"),
        (lambda: events({"error": "SECRET"}), "status none: error in the stream"),
        (lambda: JSONResponse({"error": "SECRET"}), "status none: error in the stream"),
        (lambda: raw("<p>SECRET</p>", media_type="text/html"), "status none: no finish_reason"),
        (lambda: raw(""), "status none: no finish_reason"),
        (lambda: "", "status none: blank answer"),
        (lambda: [("SECRET", '"SECRET')] * 3, "status none: blank answer"),
    ],
)
async def test_the_log_tells_of_a_failed_turn_in_one_line_without_any_text(
    settings: Settings,
    leading: Leading,
    caplog: pytest.LogCaptureFixture,
    answer: Callable[[], Any],
    says: str,
):
    def script(request: dict[str, Any]) -> Any:
        return "" if request["messages"][-1]["role"] == "tool" else answer()

    with caplog.at_level(logging.INFO):
        async with model_chat(settings, script) as place:
            await place.chat("SECRET")
    lines = [record.getMessage() for record in caplog.records]
    [line] = [line for line in lines if "failed: agent" in line]
    assert "agent anna, session 'gw_chat', " in line
    assert line.endswith(says)
    assert not [line for line in lines if "SECRET" in line]
