"""Who gets in: tokens and their scopes, and under which names the api may be called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sessions.access.tokens import TokenScope, create_token, list_tokens, revoke_token
from sessions.errors import ConfigError
from sessions.web.hosts import HostGuard
from tests.api.running_api import RunningApi
from tests.api.test_isolation import ROUTE_CALLS

OPEN = ("/healthz", "/readyz", "/metrics")
CHANGING = (
    ("POST", "/api/tools/sessions_send", {"session_id": "s", "message": "x"}),
    ("POST", "/api/tools/sessions_reset", {"session_id": "s"}),
    ("POST", "/api/tools/sessions_delete", {"session_id": "s"}),
    ("POST", "/api/tools/sessions_rename", {"session_id": "s", "name": "n"}),
    ("POST", "/api/sessions/s/messages", {"content": "x"}),
    ("PUT", "/api/sessions/s", {"name": "n"}),
    ("DELETE", "/api/sessions/s", None),
    ("POST", "/api/sessions/s/abort", None),
)
FOR_ADMINISTRATORS = (
    ("GET", "/api/dead-letters"),
    ("GET", "/api/dead-letters/x"),
    ("POST", "/api/dead-letters/x/replay"),
    ("DELETE", "/api/dead-letters/x"),
)


class TestTokens:
    @pytest.mark.parametrize("body", [b"", b"{", b"x" * 2_000_000], ids=["none", "broken", "huge"])
    async def test_without_one_every_door_is_closed_before_the_body_is_looked_at(
        self, running_api: RunningApi, body: bytes
    ):
        routes = [(method, path) for method, path in ROUTE_CALLS if path not in OPEN]
        for method, path in [*routes, ("GET", "/openapi.json"), ("POST", "/mcp")]:
            response = await running_api.call(method, path, who=None, content=body)

            assert response.status_code == 401, path
            assert response.json()["code"] == "unauthorized"
            assert response.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize(
        "header",
        ["Bearer", "Bearer ", "Bearer ts_wrong", "Basic {}", "{}", "Bearer x{}", "Bearer é"],
    )
    async def test_what_is_no_valid_one_is_refused(self, running_api: RunningApi, header: str):
        given = header.format(running_api.tokens["admin"]).encode("latin-1")

        response = await running_api.call(
            "GET", "/api/sessions", who=None, headers={"Authorization": given}
        )

        assert response.status_code == 401

    async def test_it_is_not_taken_from_the_query(self, running_api: RunningApi):
        response = await running_api.get(
            "/api/sessions", who=None, token=running_api.tokens["admin"]
        )

        assert response.status_code == 401

    async def test_a_new_one_works_at_once_and_a_revoked_one_no_more(
        self, running_api: RunningApi, workspace: Path
    ):
        token, entry = create_token(workspace, scope=TokenScope.ADMIN)
        headers = {"Authorization": f"Bearer {token}"}

        works = await running_api.call("GET", "/api/sessions", who=None, headers=headers)
        revoke_token(workspace, entry.id)
        revoked = await running_api.call("GET", "/api/sessions", who=None, headers=headers)

        assert (works.status_code, revoked.status_code) == (200, 401)

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"tokens": [{"id": "x"}]}', None])
    async def test_a_file_that_cannot_be_read_lets_nobody_in(
        self, running_api: RunningApi, workspace: Path, content: str | None
    ):
        path = workspace / "tokens.json"
        if content is None:
            path.unlink()
        else:
            path.write_text(content)

        response = await running_api.get("/api/sessions")

        assert response.status_code == 401

    async def test_it_says_whose_it_is(self, running_api: RunningApi):
        answers = [
            (await running_api.get("/api/tokens/self", who=who)).json()
            for who in ("admin", "anna", "bert-reads", "metrics", "serve", "serve as anna")
        ]

        assert answers == [
            {"agent": None, "scope": "admin"},
            {"agent": "anna", "scope": "send"},
            {"agent": "bert", "scope": "read"},
            {"agent": None, "scope": "metrics"},
            {"agent": None, "scope": "serve"},
            {"agent": "anna", "scope": "send"},
        ]


class TestScopes:
    @pytest.mark.parametrize(("method", "path", "body"), CHANGING)
    async def test_reading_is_not_changing(
        self, running_api: RunningApi, method: str, path: str, body: dict[str, str] | None
    ):
        await running_api.say("s", "hello", agent="anna")

        response = await running_api.call(method, path, who="anna-reads", json=body)

        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
        assert await running_api.contents("s") == ["hello"]

    @pytest.mark.parametrize(("method", "path", "body"), CHANGING)
    async def test_sending_is(
        self, running_api: RunningApi, method: str, path: str, body: dict[str, str] | None
    ):
        await running_api.say("s", "hello", agent="anna")

        response = await running_api.call(method, path, who="anna", json=body)

        assert response.status_code == 200

    @pytest.mark.parametrize(("method", "path"), FOR_ADMINISTRATORS)
    async def test_dead_letters_are_for_administrators(
        self, running_api: RunningApi, method: str, path: str
    ):
        agent = await running_api.call(method, path, who="anna")
        administrator = await running_api.call(method, path)

        assert agent.status_code == 403
        assert administrator.status_code in (200, 404)

    @pytest.mark.parametrize(
        ("who", "allowed"),
        [("metrics", {"/api/tokens/self"}), ("serve", {"/api/tokens/self", "/api/tools"})],
    )
    async def test_a_service_gets_no_further_than_its_own_routes(
        self, running_api: RunningApi, who: str, allowed: set[str]
    ):
        turns = "/api/turns" if who == "serve" else "none"
        routes = [
            (method, path)
            for method, path in ROUTE_CALLS
            if path not in (*OPEN, *allowed) and not path.startswith(turns)
        ]
        for method, path in [*routes, ("GET", "/openapi.json"), ("POST", "/mcp")]:
            response = await running_api.call(method, path, who=who, json={})

            assert (response.status_code, response.json()["code"]) == (403, "forbidden"), path
        for path in allowed:
            assert (await running_api.get(path, who=who)).status_code == 200

    async def test_serve_acts_for_an_agent_and_sees_only_its_sessions(
        self, running_api: RunningApi
    ):
        await running_api.say("a", "hello", agent="anna")
        await running_api.say("b", "hello", agent="bert")

        data = await running_api.data("sessions_list", who="serve as anna")

        assert [session["session_key"] for session in data["sessions"]] == ["a"]

    async def test_metrics_acts_for_nobody(self, running_api: RunningApi):
        response = await running_api.get("/api/sessions", who="metrics as anna")

        assert (response.status_code, response.json()["code"]) == (403, "forbidden")


class TestNames:
    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("localhost", 200),
            ("localhost:42617", 200),
            ("LOCALHOST", 200),
            ("127.0.0.1:80", 200),
            ("[::1]:42617", 200),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("evil.example:42617", 421),
            ("user@localhost", 421),
            ("localhost:1:2", 421),
            ("", 421),
        ],
    )
    async def test_a_foreign_host_name_is_refused(
        self, running_api: RunningApi, host: str, status: int
    ):
        response = await running_api.call("GET", "/api/sessions", headers={"Host": host})

        assert response.status_code == status

    @pytest.mark.parametrize(("method", "path"), [("GET", "/healthz"), ("POST", "/mcp")])
    async def test_no_door_answers_under_one(self, running_api: RunningApi, method: str, path: str):
        response = await running_api.call(method, path, headers={"Host": "evil.example"})

        assert (response.status_code, response.json()["code"]) == (421, "host_not_allowed")

    @pytest.mark.parametrize(
        ("origin", "status"),
        [
            ("http://localhost:5173", 200),
            ("https://127.0.0.1", 200),
            ("http://[::1]:42617", 200),
            ("http://evil.example", 403),
            ("http://localhost.evil.example", 403),
            ("http://evil.example/localhost", 403),
            ("https://user@localhost", 403),
            ("ftp://localhost", 403),
            ("localhost", 403),
            ("null", 403),
            ("", 403),
        ],
    )
    async def test_a_page_of_another_origin_is_refused(
        self, running_api: RunningApi, origin: str, status: int
    ):
        response = await running_api.call("GET", "/api/sessions", headers={"Origin": origin})

        assert response.status_code == status

    @pytest.mark.parametrize(
        ("headers", "accepted"),
        [
            ({"host": "api"}, True),
            ({"host": "api:8080"}, True),
            ({"host": "chat.example:8443"}, True),
            ({"host": "chat.example:9000"}, False),
            ({"host": "chat.example"}, False),
            ({"host": "api", "origin": "https://chat.example:8443"}, True),
            ({"host": "api", "origin": "https://chat.example"}, False),
            ({"host": "api", "origin": "null"}, False),
            ({}, False),
        ],
    )
    @pytest.mark.parametrize("kind", ["http", "websocket"])
    async def test_configured_names_and_ports_count_for_websockets_too(
        self, kind: str, headers: dict[str, str], accepted: bool
    ):
        sent: list[Any] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "reached"})

        async def send(message: Any) -> None:
            sent.append(message["type"])

        async def receive() -> Any:
            return {}

        guard = HostGuard(application, ["api", "chat.example:8443"])
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await guard({"type": kind, "headers": pairs}, receive, send)

        refused = {"http": "http.response.start", "websocket": "websocket.close"}[kind]
        assert sent[0] == ("reached" if accepted else refused)

    def test_what_is_no_name_is_a_configuration_error(self):
        async def application(scope: Any, receive: Any, send: Any) -> None: ...

        with pytest.raises(ConfigError, match="allowed_hosts: 'http://x' is not a host name"):
            HostGuard(application, ["http://x"])


def test_the_file_holds_no_token(workspace: Path):
    token, entry = create_token(workspace, scope=TokenScope.SEND, agent="anna", note="kitchen")

    [listed] = list_tokens(workspace)
    assert listed == entry
    assert token not in (workspace / "tokens.json").read_text()
