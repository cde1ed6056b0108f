"""Answers: values as JSON, and errors in the one form of `sessions.web.problems`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sessions.errors import InvalidRequest
from sessions.web.asgi import STANDING_HEADERS
from sessions.web.problems import Problem, first_fault, problem_of
from sessions.web.rejections import IncompleteBody


class Json(Response):
    """A JSON answer, rendered without a detour."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The value as JSON text."""
        return to_json(content)


def answer_error(error: Exception) -> Response:
    """The answer that an error becomes, also one of the framework's own."""
    problem = _problem_of(error)
    return Json(problem.body, problem.status, {**STANDING_HEADERS, **problem.headers})


def answer_errors_outside_routes(app: FastAPI) -> None:
    """Have the app answer in the same form if no route is meant, or if a middleware fails."""

    async def answer(request: Request, error: Exception) -> Response:
        return answer_error(error)

    app.add_exception_handler(HTTPException, answer)
    app.add_exception_handler(Exception, answer)


def _problem_of(error: Exception) -> Problem:
    match error:
        case HTTPException():
            headers = dict(error.headers or {})
            return Problem(error.status_code, error.detail, "http_error", headers=headers)
        case RequestValidationError():
            return problem_of(InvalidRequest(first_fault(error.errors())))
        case ClientDisconnect():
            return problem_of(IncompleteBody("the connection ended before the body did"))
        case _:
            return problem_of(error)
