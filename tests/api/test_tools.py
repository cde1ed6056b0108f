"""The session tools over REST: what they say, what they do, what they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessions.models import EventType
from tests.api.running_api import RunningApi

NOT_FOUND = (
    "Session '{}' not found. Use sessions_list or sessions_current to choose an existing session. "
    "Gateway dashboard sessions are stored as 'gw_<session_id>'."
)
INVALID_ID = (
    "Invalid 'session_id': must be non-empty and contain at least one alphanumeric character."
)
WITH_ID = (
    ("sessions_history", {}),
    ("sessions_send", {"message": "hi"}),
    ("sessions_reset", {}),
    ("sessions_delete", {}),
    ("sessions_rename", {"name": "n"}),
    ("sessions_search", {"query": "hi"}),
)


class TestTheList:
    async def test_an_empty_store_has_no_sessions(self, running_api: RunningApi):
        body = await running_api.answer("sessions_list")

        assert body["output"] == "No active sessions found."
        assert body["data"] == {"sessions": [], "next_cursor": None}
        assert body["error"] is None

    async def test_each_session_is_a_line_the_newest_activity_first(self, running_api: RunningApi):
        await running_api.say("telegram__42", "hello", at=1_700_000_000_000_000)
        await running_api.say("gw_abc", "one", "two", at=1_700_000_001_500_000)

        text = await running_api.text("sessions_list")

        assert text == (
            "Found 2 session(s):\n"
            "- gw_abc: channel=gw_abc, messages=2, last_activity=2023-11-14 22:13:21.500000 UTC\n"
            "- telegram__42: channel=telegram, messages=1, last_activity=2023-11-14 22:13:20 UTC\n"
        )

    async def test_a_session_is_shown_with_the_channel_that_it_came_by(
        self, running_api: RunningApi
    ):
        await running_api.say("telegram_home_42", "hello", channel="telegram.home")

        text = await running_api.text("sessions_list")

        assert "- telegram_home_42: channel=telegram.home, messages=1, " in text

    async def test_the_data_says_the_same_as_structure(self, running_api: RunningApi):
        await running_api.say("gw_abc", "one", at=1_700_000_000_000_000, channel="telegram.home")
        await running_api.publish(EventType.RENAME, "gw_abc", name="Kitchen")

        [row] = (await running_api.data("sessions_list"))["sessions"]

        assert row == {
            "session_id": "abc",
            "session_key": "gw_abc",
            "created_at": "2023-11-14T22:13:20+00:00",
            "last_activity": "2023-11-14T22:13:20+00:00",
            "message_count": 1,
            "agent_alias": "anna",
            "channel_id": "telegram.home",
            "room_id": None,
            "sender_id": None,
            "state": "idle",
            "name": "Kitchen",
        }

    async def test_pages_give_every_session_once(self, running_api: RunningApi):
        for number in range(7):
            await running_api.say(f"s{number}", "hello")
        seen: list[str] = []
        cursor = None
        while True:
            data = await running_api.data("sessions_list", {"limit": 3, "cursor": cursor})
            seen += [row["session_key"] for row in data["sessions"]]
            cursor = data["next_cursor"]
            if cursor is None:
                break

        assert seen == [f"s{number}" for number in reversed(range(7))]


class TestTheHistory:
    async def test_the_newest_messages_come_oldest_first(self, running_api: RunningApi):
        await running_api.say("s", "one", "two")
        await running_api.say("s", "three", role="assistant")

        text = await running_api.text("sessions_history", {"session_id": "s", "limit": 2})

        assert text == "Session 's': showing 2/3 messages\n[user] two\n[assistant] three\n"

    async def test_the_data_has_numbers_ids_and_times(self, running_api: RunningApi):
        await running_api.publish(
            EventType.APPEND,
            "s",
            id="e1",
            role="user",
            content="hällo\n",
            at=1_700_000_000_000_000,
        )

        data = await running_api.data("sessions_history", {"session_id": "s"})

        assert data == {
            "session": "s",
            "messages": [
                {
                    "seq": 1,
                    "id": "e1",
                    "role": "user",
                    "content": "hällo\n",
                    "created_at": "2023-11-14T22:13:20+00:00",
                }
            ],
            "total": 1,
            "next_cursor": None,
        }

    async def test_the_cursor_goes_to_older_messages(self, running_api: RunningApi):
        await running_api.say("s", *"abcdefg")
        pages: list[str] = []
        cursor = None
        while True:
            asked = {"session_id": "s", "limit": 3, "cursor": cursor}
            data = await running_api.data("sessions_history", asked)
            pages.append("".join(message["content"] for message in data["messages"]))
            cursor = data["next_cursor"]
            if cursor is None:
                break

        assert pages == ["efg", "bcd", "a"]

    async def test_an_unknown_session_has_no_messages(self, running_api: RunningApi):
        body = await running_api.answer("sessions_history", {"session_id": "nobody"})

        assert body["success"]
        assert body["output"] == "No messages found for session 'nobody'."
        assert body["data"]["messages"] == []

    async def test_a_page_of_very_long_messages_ends_early_and_goes_on(
        self, running_api: RunningApi
    ):
        for number in range(80):
            await running_api.say("s", f"{number:03}" + "x" * 199_000)
        pages: list[list[str]] = []
        cursor = None
        while cursor is not None or not pages:
            asked = {"session_id": "s", "limit": 80, "cursor": cursor}
            data = await running_api.data("sessions_history", asked)
            pages.append([message["content"][:3] for message in data["messages"]])
            cursor = data["next_cursor"]

        assert all(0 < len(page) < 30 for page in pages)
        found = [number for page in reversed(pages) for number in page]
        assert found == [f"{number:03}" for number in range(80)]


class TestSending:
    async def test_a_message_is_stored_as_the_users_word_for_word(self, running_api: RunningApi):
        await running_api.say("s", "hello")

        text = await running_api.text("sessions_send", {"session_id": "s", "message": " hi\n"})

        assert text == "Message sent to session 's'."
        data = await running_api.data("sessions_history", {"session_id": "s"})
        assert [(m["role"], m["content"]) for m in data["messages"]] == [
            ("user", "hello"),
            ("user", " hi\n"),
        ]

    async def test_sender_and_owner_of_the_session_stay(self, running_api: RunningApi):
        await running_api.say("s", "hello", agent="anna", sender="zoe")

        await running_api.text("sessions_send", {"session_id": "s", "message": "hi"})

        [row] = (await running_api.data("sessions_list"))["sessions"]
        assert (row["agent_alias"], row["sender_id"]) == ("anna", "zoe")

    async def test_a_dashboard_id_finds_the_gateways_session(self, running_api: RunningApi):
        await running_api.say("gw_abc", "hello")

        text = await running_api.text("sessions_send", {"session_id": " abc ", "message": "hi"})

        assert text == "Message sent to session 'gw_abc' (requested 'abc')."

    async def test_the_exact_key_comes_before_the_gateways(self, running_api: RunningApi):
        await running_api.say("gw_abc", "gateway's")
        await running_api.say("abc", "exact")

        await running_api.text("sessions_send", {"session_id": "abc", "message": "hi"})

        assert await running_api.contents("abc") == ["exact", "hi"]
        assert await running_api.contents("gw_abc") == ["gateway's"]

    async def test_an_unknown_session_is_not_created(self, running_api: RunningApi):
        text = await running_api.text("sessions_send", {"session_id": "nobody", "message": "hi"})

        assert text == NOT_FOUND.format("nobody")
        assert await running_api.text("sessions_list") == "No active sessions found."

    async def test_a_blank_message_is_refused(self, running_api: RunningApi):
        await running_api.say("s", "hello")

        body = await running_api.answer("sessions_send", {"session_id": "s", "message": " \n"})

        assert (body["success"], body["output"]) == (False, "")
        assert body["error"] == "Message content must not be empty."

    async def test_a_message_beyond_the_bound_is_refused_before_it_is_published(
        self, running_api: RunningApi
    ):
        await running_api.say("s", "hello")

        response = await running_api.tool(
            "sessions_send", {"session_id": "s", "message": "x" * 300_000}
        )

        assert response.status_code == 422
        assert response.json()["code"] == "too_large"
        assert await running_api.contents("s") == ["hello"]


class TestTheCurrentSession:
    async def test_it_comes_from_the_header(self, running_api: RunningApi):
        await running_api.say("gw_abc", "hello")
        await running_api.publish(EventType.RENAME, "gw_abc", name="Kitchen")
        inside = {"X-Turnstream-Session": "gw_abc"}

        text = await running_api.text("sessions_current", headers=inside)

        assert text == "Current session: gw_abc\nName: Kitchen\nMessages: 1\n"

    async def test_without_the_header_there_is_none(self, running_api: RunningApi):
        body = await running_api.answer("sessions_current")

        assert not body["success"]
        assert body["error"] == (
            "No active session context. This tool is only available during a gateway session."
        )

    async def test_a_session_without_messages_yet_is_one_too(self, running_api: RunningApi):
        inside = {"X-Turnstream-Session": "gw_new"}

        assert (
            await running_api.text("sessions_current", headers=inside)
            == "Current session: gw_new\n"
        )

    async def test_a_key_beyond_ascii_comes_as_utf8(self, running_api: RunningApi):
        await running_api.say("user_Алиса", "hello")
        inside = {"X-Turnstream-Session": "user_Алиса".encode()}

        text = await running_api.text("sessions_current", headers=inside)

        assert text == "Current session: user_Алиса\nMessages: 1\n"


class TestReset:
    async def test_the_messages_go_and_the_session_stays(self, running_api: RunningApi):
        await running_api.say("s", "one", "two", agent="anna")

        text = await running_api.text("sessions_reset", {"session_id": "s"})

        assert text == "Session 's' reset (2 messages cleared)."
        [row] = (await running_api.data("sessions_list"))["sessions"]
        assert (row["message_count"], row["agent_alias"]) == (0, "anna")

    @pytest.mark.parametrize("session", ["empty", "nobody"])
    async def test_where_nothing_is_to_clear_it_says_so(
        self, running_api: RunningApi, session: str
    ):
        await running_api.publish(EventType.CONTEXT, "empty", channel="telegram.home")

        text = await running_api.text("sessions_reset", {"session_id": session})

        assert text == f"Session '{session}' is already empty."


class TestDelete:
    async def test_the_session_goes_with_its_messages(self, running_api: RunningApi):
        await running_api.say("s", "one")
        await running_api.say("other", "two")

        assert (
            await running_api.text("sessions_delete", {"session_id": "s"}) == "Session 's' deleted."
        )
        assert await running_api.contents("s") == []
        assert await running_api.contents("other") == ["two"]

    async def test_an_unknown_session_may_be_deleted_already(self, running_api: RunningApi):
        body = await running_api.answer("sessions_delete", {"session_id": "s"})

        assert body["success"]
        assert body["output"] == "Session 's' not found (may have already been deleted)."


class TestRename:
    async def test_a_session_gets_a_name_and_loses_it(self, running_api: RunningApi):
        await running_api.say("s", "one")

        given = await running_api.text("sessions_rename", {"session_id": "s", "name": " Kitchen "})
        [named] = (await running_api.data("sessions_list"))["sessions"]
        taken = await running_api.text("sessions_rename", {"session_id": "s", "name": ""})
        [unnamed] = (await running_api.data("sessions_list"))["sessions"]

        assert given == "Session 's' renamed to 'Kitchen'."
        assert named["name"] == "Kitchen"
        assert taken == "Session 's' has no name any more."
        assert "name" not in unnamed

    async def test_an_unknown_session_is_not_created(self, running_api: RunningApi):
        text = await running_api.text("sessions_rename", {"session_id": "nobody", "name": "n"})

        assert text == NOT_FOUND.format("nobody")


class TestSearch:
    async def test_messages_with_all_words_come_newest_first(self, running_api: RunningApi):
        await running_api.say("a", "the blue umbrella", at=1_700_000_000_000_000)
        await running_api.say("b", "an umbrella, blue", at=1_700_000_000_000_000)
        await running_api.say("b", "a red umbrella")

        text = await running_api.text("sessions_search", {"query": "Blue umbrella"})

        assert text == (
            "Found 2 message(s):\n"
            "- b [user] 2023-11-14 22:13:20 UTC: an umbrella, blue\n"
            "- a [user] 2023-11-14 22:13:20 UTC: the blue umbrella\n"
        )

    async def test_it_can_be_narrowed_to_a_session(self, running_api: RunningApi):
        await running_api.say("gw_a", "umbrella one")
        await running_api.say("b", "umbrella two")

        data = await running_api.data("sessions_search", {"query": "umbrella", "session_id": "a"})

        assert [(hit["session"], hit["content"]) for hit in data["messages"]] == [
            ("gw_a", "umbrella one")
        ]

    @pytest.mark.parametrize("session", [None, "nobody"])
    async def test_where_nothing_is_found_it_says_so(
        self, running_api: RunningApi, session: str | None
    ):
        await running_api.say("s", "hello")
        asked = {"query": "umbrella", "session_id": session}

        body = await running_api.answer("sessions_search", asked)

        assert body["output"] == "No messages found for 'umbrella'."
        assert body["data"] == {"messages": [], "next_cursor": None}

    async def test_a_long_message_is_cut_in_the_text_and_whole_in_the_data(
        self, running_api: RunningApi
    ):
        content = "needle " + "x" * 1000
        await running_api.say("s", content)

        body = await running_api.answer("sessions_search", {"query": "needle"})

        assert body["output"].endswith("x…\n")
        assert body["data"]["messages"][0]["content"] == content


class TestIds:
    @pytest.mark.parametrize(("name", "more"), WITH_ID)
    @pytest.mark.parametrize("session", ["", "  ", "-_/"])
    async def test_what_cannot_be_an_id_is_refused_by_every_tool(
        self, running_api: RunningApi, name: str, more: dict[str, str], session: str
    ):
        body = await running_api.answer(name, {"session_id": session, **more})

        assert (body["success"], body["error"]) == (False, INVALID_ID)

    @pytest.mark.parametrize("key", ["a/b", "a%2Fb", "ключ", "日本", "a b\nc", "x" * 512])
    async def test_any_key_can_be_used(self, running_api: RunningApi, key: str):
        await running_api.say(key, "hello")

        assert await running_api.text("sessions_send", {"session_id": key, "message": "hi"})
        assert await running_api.contents(key) == ["hello", "hi"]


class TestArguments:
    @pytest.mark.parametrize(
        ("name", "arguments", "says"),
        [
            ("sessions_history", {}, "Missing 'session_id' parameter"),
            ("sessions_send", {"session_id": "s"}, "Missing 'message' parameter"),
            ("sessions_history", {"session_id": 7}, "Invalid 'session_id'"),
            ("sessions_history", {"session_id": None}, "Invalid 'session_id'"),
            ("sessions_list", {"limit": "5.5"}, "Invalid 'limit'"),
            ("sessions_list", {"limit": 3.5}, "Invalid 'limit'"),
            ("sessions_list", {"limit": "five"}, "Invalid 'limit'"),
            ("sessions_list", {"limit": "9" * 5000}, "Invalid 'limit'"),
            ("sessions_list", {"limit": 1e300}, "Invalid 'limit'"),
            ("sessions_list", {"limit": True}, "Invalid 'limit'"),
            ("sessions_list", {"limit": -1}, "Invalid 'limit'"),
            ("sessions_list", {"limit": 0}, "Invalid 'limit'"),
            ("sessions_list", {"limit": 1001}, "Invalid 'limit'"),
            ("sessions_list", {"limt": 5}, "Invalid 'limt': there is no such argument; did you"),
            ("sessions_history", {"sessionId": "s"}, "Invalid 'sessionId': there is no such"),
            (
                "sessions_current",
                {"verbose": 1},
                "Invalid 'verbose': there is no such argument; this",
            ),
            ("sessions_list", {"x" * 100_000: 1}, "Invalid 'xxx"),
            ("sessions_list", {"cursor": "nonsense"}, "this is not a cursor"),
            ("sessions_list", [], "Input should be"),
            ("sessions_list", "x", "Input should be"),
        ],
    )
    async def test_missing_and_mistyped_ones_are_named(
        self, running_api: RunningApi, name: str, arguments: object, says: str
    ):
        response = await running_api.call("POST", f"/api/tools/{name}", json=arguments)

        assert response.status_code == 422
        assert response.json()["error"].startswith(says)
        assert response.json()["code"] == "invalid_argument"

    @pytest.mark.parametrize(
        "arguments",
        [
            None,
            {"limit": None, "cursor": None},
            {"limit": "1"},
            {"limit": " 1 "},
            {"limit": 1.0},
            {"limit": "1.0"},
            {"limit": "", "cursor": ""},
        ],
        ids=str,
    )
    async def test_what_models_write_is_read_as_they_mean_it(
        self, running_api: RunningApi, arguments: dict[str, Any] | None
    ):
        for session in ("s", "t"):
            await running_api.say(session, "hello")

        response = await running_api.call("POST", "/api/tools/sessions_list", json=arguments)

        one = (arguments or {}).get("limit") not in (None, "")
        assert len(response.json()["data"]["sessions"]) == (1 if one else 2)

    async def test_an_empty_body_is_no_arguments(self, running_api: RunningApi):
        response = await running_api.call("POST", "/api/tools/sessions_list")

        assert response.json()["success"]

    async def test_an_unknown_tool_is_404(self, running_api: RunningApi):
        response = await running_api.tool("sessions_spawn")

        assert response.status_code == 404
        assert response.json()["code"] == "unknown_tool"


class TestDescriptions:
    async def test_eight_tools_are_listed_ready_for_function_calling(self, running_api: RunningApi):
        tools = (await running_api.get("/api/tools")).json()["tools"]

        assert [tool["type"] for tool in tools] == ["function"] * 8
        assert {tool["function"]["name"] for tool in tools} == {
            *("sessions_list", "sessions_history", "sessions_send", "sessions_current"),
            *("sessions_reset", "sessions_delete", "sessions_search", "sessions_rename"),
        }

    async def test_a_schema_says_what_is_needed_and_what_it_means(self, running_api: RunningApi):
        tools = (await running_api.get("/api/tools")).json()["tools"]
        [send] = [t["function"] for t in tools if t["function"]["name"] == "sessions_send"]

        assert send["parameters"]["required"] == ["session_id", "message"]
        assert send["parameters"]["additionalProperties"] is False
        assert send["parameters"]["properties"]["message"] == {
            "type": "string",
            "description": "The message content to send",
        }
        assert "title" not in json.dumps(send)


class TestSendingTwice:
    async def test_an_idempotency_key_is_the_event_id_and_counts_once(
        self, running_api: RunningApi
    ):
        await running_api.say("s", "hello")
        key = {"Idempotency-Key": "retry-1"}
        asked = {"session_id": "s", "message": "hi"}

        first = await running_api.answer("sessions_send", asked, headers=key)
        again = await running_api.answer("sessions_send", asked, headers=key)

        assert first["output"] == again["output"] == "Message sent to session 's'."
        assert await running_api.contents("s") == ["hello", "hi"]
        outcome = (await running_api.get("/api/outcomes/retry-1")).json()
        assert (outcome["outcome"], outcome["duplicates"]) == ("applied", 1)

    async def test_a_key_that_was_used_for_something_else_is_refused(self, running_api: RunningApi):
        await running_api.say("s", "hello")
        key = {"Idempotency-Key": "retry-1"}
        await running_api.answer("sessions_send", {"session_id": "s", "message": "hi"}, headers=key)

        answer = await running_api.answer(
            "sessions_send", {"session_id": "s", "message": "other"}, headers=key
        )

        assert not answer["success"]
        assert answer["error"].startswith("id_conflict: ")
        assert await running_api.contents("s") == ["hello", "hi"]

    async def test_a_key_that_cannot_be_an_event_id_is_refused(self, running_api: RunningApi):
        response = await running_api.tool(
            "sessions_send",
            {"session_id": "s", "message": "hi"},
            headers={"Idempotency-Key": "not an id"},
        )

        assert response.status_code == 422
