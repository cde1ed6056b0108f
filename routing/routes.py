"""Routes whose errors become answers, whichever application they are part of."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from routing.answers import answer_error
from sessions.process.tracing import carrying
from sessions.web.asgi import STANDING_HEADERS


class GuardedRoute(APIRoute):
    """A route that answers every error in the form of `sessions.web.problems`.

    A service derives its own from it: who may in, and what is counted.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, guarded."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            began = time.perf_counter()
            try:
                with carrying(request.headers.get("traceparent")):
                    await self.admit(request)
                    response = await handle(request)
            except Exception as error:  # noqa: BLE001 - every error has its answer
                response = answer_error(error)
            self.complete(request, response, time.perf_counter() - began)
            return response

        return guarded

    async def admit(self, request: Request) -> None:
        """Raise if the caller may not use the route. By itself it is open to everybody."""

    def complete(self, request: Request, response: Response, seconds: float) -> None:
        """Give the answer the headers that every answer has. It took that many seconds."""
        response.headers.update(STANDING_HEADERS)
