"""Bad input: a clear error, nothing lost, nothing told that should not be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sessions.models import EventType
from tests.api.running_api import RunningApi

MIB = 1024 * 1024


async def chunks(size: int) -> AsyncIterator[bytes]:
    """A body that does not say how long it is."""
    for _ in range(size // 65536):
        yield b" " * 65536
    yield b"{}"


class TestBodies:
    async def test_one_of_a_mebibyte_is_read(self, running_api: RunningApi):
        response = await running_api.call(
            "POST", "/api/tools/sessions_list", content=b" " * (MIB - 2) + b"{}"
        )

        assert response.status_code == 200

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/api/tools/sessions_list"),
            ("POST", "/api/sessions/s/messages"),
            ("PUT", "/api/sessions/s"),
        ],
    )
    async def test_a_larger_one_is_refused_by_what_came_and_not_by_what_it_says(
        self, running_api: RunningApi, method: str, path: str
    ):
        response = await running_api.call(method, path, content=chunks(2 * MIB))

        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")

    @pytest.mark.parametrize(
        "body",
        [
            *(b"{", b"{}x", b"nonsense", b"\xff", b'{"limit": NaN}', b'{"limit": 1e999}'),
            *(b'{"cursor": "\\ud800"}', b"[" * 200_000, b'{"a":' * 1000 + b"1" + b"}" * 1000),
            b'{"limit": ' + b"1" * 5000 + b"}",
        ],
        ids=[
            "open",
            "more",
            "word",
            "bytes",
            "nan",
            "inf",
            "surrogate",
            "deep",
            "nested",
            "number",
        ],
    )
    async def test_what_is_no_json_is_refused(self, running_api: RunningApi, body: bytes):
        response = await running_api.call("POST", "/api/tools/sessions_list", content=body)

        assert response.status_code in (400, 422)
        assert response.json()["code"] in ("invalid_json", "invalid_argument")

    @pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"x"'])
    @pytest.mark.parametrize(
        ("method", "path"), [("POST", "/api/sessions/s/messages"), ("PUT", "/api/sessions/s")]
    )
    async def test_what_is_no_object_is_refused(
        self, running_api: RunningApi, method: str, path: str, body: bytes
    ):
        response = await running_api.call(method, path, content=body)

        assert (response.status_code, response.json()["code"]) == (422, "invalid_argument")

    async def test_text_is_stored_as_it_came(self, running_api: RunningApi):
        text = "a\u0000b\u2028c 🦀 \u202eרtl\r\n" + "é" * 1000
        await running_api.say("s", "hello")

        await running_api.answer("sessions_send", {"session_id": "s", "message": text})

        assert await running_api.contents("s") == ["hello", text]


class TestBounds:
    async def test_a_name_beyond_the_bound_is_refused(self, running_api: RunningApi):
        await running_api.say("s", "hello")

        response = await running_api.call("PUT", "/api/sessions/s", json={"name": "x" * 600})

        assert (response.status_code, response.json()["code"]) == (422, "invalid_field")

    async def test_an_id_beyond_the_bound_is_an_unknown_one(self, running_api: RunningApi):
        response = await running_api.call("DELETE", f"/api/sessions/{'x' * 600}")

        assert response.status_code == 404

    @pytest.mark.parametrize("query", ["'; DROP TABLE messages; --", '"', "*", "a OR b", "^", "()"])
    async def test_a_search_survives_every_punctuation(self, running_api: RunningApi, query: str):
        await running_api.say("s", "hello")

        body = await running_api.answer("sessions_search", {"query": query})

        assert body["success"]
        assert await running_api.contents("s") == ["hello"]


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/nothing", 404),
            ("GET", "/api/sessions/s", 405),
            ("PATCH", "/api/sessions", 405),
            ("GET", "/docs", 404),
        ],
    )
    async def test_what_no_route_answers_has_the_same_form(
        self, running_api: RunningApi, method: str, path: str, status: int
    ):
        response = await running_api.call(method, path)

        assert response.status_code == status
        assert set(response.json()) == {"error", "code"}

    async def test_a_defect_inside_tells_nothing_of_it(
        self, running_api: RunningApi, workspace: Path, caplog: pytest.LogCaptureFixture
    ):
        await running_api.say("s", "hello")
        await running_api.leading.pause()
        database = workspace / "sessions" / "turnstream.db"
        for path in database.parent.iterdir():
            path.write_bytes(b"garbage" * 1000)

        response = await running_api.get("/api/sessions")

        assert response.status_code == 500
        assert response.json() == {
            "error": "an error inside; the log tells more",
            "code": "internal",
        }
        assert "a request failed" in caplog.text

    async def test_no_answer_is_kept_by_a_cache(self, running_api: RunningApi):
        await running_api.publish(EventType.CONTEXT, "s")

        response = await running_api.get("/api/sessions")

        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
