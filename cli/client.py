"""The API as the commands use it: one call each, and errors as sentences."""

from __future__ import annotations

import ipaddress
import time
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import quote, urlsplit

import httpx

from cli.identity import check_identity
from cli.system import TargetSystem
from sessions.access.tokens import AGENT_HEADER, TokenScope
from sessions.errors import ConfigError, InvalidRequest, Retryable, SessionError
from sessions.process.retry import Pauses, retry_blocking
from sessions.process.urls import api_problem, redacted

# Seconds for an answer. A fresh read waits 2 s at most for the worker, a change a little longer.
TIMEOUT: Final = 15.0
# Seconds for which the next request still finds the same server, because the connection is kept.
# httpx keeps it for 5 s; `chat` and `tail` may pause for longer.
_TRUST: Final = 4.0
# Seconds between two looks for an outcome.
_PAUSE: Final = 0.05

Json = dict[str, Any]


class NotFoundByApi(SessionError):
    """What was asked for does not exist."""


class ApiClient:
    """A connection to the API of a system; `with` closes it.

    The server is asked which store it serves before it is shown the token. Every method raises
    Retryable where nothing answers, or not now; ConfigError where it is another system's server, or
    the token is not accepted; NotThere for a 404; SessionError with the API's own text for other
    refusals.
    """

    def __init__(self, system: TargetSystem) -> None:
        """Raises Retryable where no address is known, ConfigError for one that is none."""
        self._system = system
        url = system.required_api_url()
        self._shown = redacted(url)
        if problem := api_problem(url):
            raise ConfigError(f"the address of the api, {self._shown}, {problem}")
        self._trusted_until = 0.0
        self._agent: str | None = None
        try:
            # A proxy of the environment is not meant for this machine.
            self._http = httpx.Client(
                base_url=url, timeout=TIMEOUT, trust_env=not _is_loopback(url)
            )
        except (ValueError, httpx.InvalidURL):  # its text may quote a password
            raise ConfigError(f"{self._shown} is not a URL of an api") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: object) -> Json:
        """The JSON object at the path; parameters that are None are left out."""
        given = {name: str(value) for name, value in query.items() if value is not None}
        return self._asked("GET", path, params=given)

    def post(
        self,
        path: str,
        body: Json | None = None,
        *,
        event_id: str | None = None,
        query: dict[str, str] | None = None,
        within: float = TIMEOUT,
    ) -> Json:
        """Send a change; with `event_id` it can be sent again without a second effect.

        `within` are the seconds that its answer may take.
        """
        headers = {"Idempotency-Key": event_id} if event_id else {}
        given = {"json": body or {}, "params": query or {}}
        return self._asked("POST", path, headers=headers, timeout=within, **given)

    def put(self, path: str, body: Json, *, event_id: str) -> Json:
        """Replace what is at the path; `event_id` as with `post`."""
        return self._asked("PUT", path, json=body, headers={"Idempotency-Key": event_id})

    def delete(self, path: str, *, event_id: str | None = None) -> Json:
        """Delete what is at the path; `event_id` as with `post`."""
        headers = {"Idempotency-Key": event_id} if event_id else {}
        return self._asked("DELETE", path, headers=headers)

    def tool(
        self,
        tool: str,
        /,
        *,
        event_id: str | None = None,
        fresh: bool = True,
        within: float = TIMEOUT,
        **arguments: object,
    ) -> Json:
        """Call a session tool; raises SessionError with its text where it did not succeed.

        Without `fresh` it does not wait for what is on the stream. `within` as with `post`.
        """
        given = {key: value for key, value in arguments.items() if value is not None}
        query = {} if fresh else {"consistency": "any"}
        answer = self.post(
            f"/api/tools/{tool}", given, event_id=event_id, query=query, within=within
        )
        if not answer.get("success"):
            raise SessionError(answer.get("error") or f"{tool} did not succeed")
        return answer

    def outcome(
        self,
        event_id: str,
        *,
        patience: float,
        entry: str | None = None,
        by: str | None = None,
    ) -> Json:
        """The outcome of an event, waited for; raises Retryable after `patience` seconds.

        With the position of an `entry`, what became of that very one: an entry that contradicts an
        earlier one of its id is dead. `by` is the agent whose token published it.
        """
        path = f"/api/outcomes/{quote(event_id, safe='')}"
        try:
            return retry_blocking(
                lambda: self.get(path, consistency="any", entry=entry, by=by),
                on=NotFoundByApi,
                pauses=Pauses(_PAUSE),
                patience=patience,
            )
        except NotFoundByApi:
            raise Retryable(
                f"{event_id} is on the stream but was not applied within {patience:g} s; "
                "`turnstream status` tells how far the worker is"
            ) from None

    def catch_up(self, *, patience: float) -> None:
        """Wait until the worker has applied what is on the stream now; raises Retryable."""
        retry_blocking(
            lambda: self.get("/api/sessions", limit=1),
            on=Retryable,
            pauses=Pauses(_PAUSE),
            patience=patience,
        )

    def readiness(self) -> tuple[int, Json]:
        """Status and JSON of /readyz, which is asked without the token; raises as all others."""
        response = self._request("GET", "/readyz")
        report = _object(response)
        check_identity(self._system, response.status_code, report)
        self._trusted_until = time.monotonic() + _TRUST
        return response.status_code, report

    def make_sure(self) -> None:
        """Check that the server is the right one, where that was not seen just now."""
        if self._system.is_bound and time.monotonic() > self._trusted_until:
            self.readiness()

    def _asked(self, method: str, path: str, **options: Any) -> Json:
        response = self._sent(method, path, **options)
        if not response.is_success:
            raise self._refusal(response, path)
        document = _object(response)
        if not document:
            raise SessionError(f"{self._shown} is not turnstream's: it answers otherwise")
        return document

    def _sent(
        self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        self.make_sure()
        given = headers or {}
        answer = self._trusted(method, path, headers={**self._shown_headers(), **given}, **options)
        if answer.status_code == HTTPStatus.FORBIDDEN and self._became_an_agent():
            own = self._shown_headers()
            answer = self._trusted(method, path, headers={**own, **given}, **options)
        return answer

    def _shown_headers(self) -> dict[str, str]:
        token = self._system.token
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        return {**shown, AGENT_HEADER: self._agent} if self._agent else shown

    def _became_an_agent(self) -> bool:
        """Ask as the only agent from now on, if the token is ingest's."""
        if self._agent is not None:
            return False
        found = _object(self._trusted("GET", "/api/tokens/self", headers=self._shown_headers()))
        if found.get("scope") == TokenScope.SERVE:
            self._agent = self._system.only_agent
            if self._agent is None:
                raise ConfigError(
                    "the token here is ingest's, and there are several agents: run this where the "
                    "worker runs, or set TURNSTREAM_TOKEN"
                )
        return self._agent is not None

    def _trusted(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._request(method, path, **options)
        except Retryable:
            self._trusted_until = 0.0  # the next answer may come from another process
            raise
        self._trusted_until = time.monotonic() + _TRUST
        return answer

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            raise ConfigError(f"{self._shown} is not a URL of an api") from None
        except httpx.ConnectError as error:
            raise Retryable(
                f"nothing answers on {self._shown} ({error}); is it running?"
            ) from error
        except httpx.HTTPError as error:
            what = str(error) or type(error).__name__
            raise Retryable(f"{self._shown} did not answer: {what}") from error

    def _refusal(self, response: httpx.Response, path: str) -> SessionError:
        status = response.status_code
        text = _error_text(response) or f"{self._shown}{path} answered with {status}"
        if status == HTTPStatus.UNAUTHORIZED:
            return ConfigError(f"{self._shown} does not accept the token: {self._advice()}")
        if status == HTTPStatus.NOT_FOUND:
            return NotFoundByApi(text)
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            return Retryable(text, retry_after=_seconds(response.headers.get("Retry-After")))
        if status == HTTPStatus.UNPROCESSABLE_ENTITY:
            return InvalidRequest(text)
        return SessionError(text)

    def _advice(self) -> str:
        if self._system.token is None:
            workspace = self._system.settings.workspace
            return f"there is none in {workspace}; set TURNSTREAM_TOKEN"
        return "set TURNSTREAM_TOKEN to one that `turnstream token create` printed"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _object(response: httpx.Response) -> Json:
    try:
        document = response.json()
    except ValueError:
        return {}
    return cast("Json", document) if isinstance(document, dict) else {}


def _error_text(response: httpx.Response) -> str | None:
    document = _object(response)
    text = document.get("error") or document.get("detail")
    return str(text) if text else None


def _seconds(text: str | None) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 1.0


__all__ = ["TIMEOUT", "ApiClient", "Json", "NotFoundByApi"]
