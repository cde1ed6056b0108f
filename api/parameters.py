"""Parameters of routes that are asked often: described for the document, and read by hand.

FastAPI takes some 0.05 ms for each parameter and dependency of each request, which is more than
SQLite takes for the answer. What is read here is refused with the same sentences.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from sessions.errors import InvalidRequest
from sessions.web.problems import first_fault

T = TypeVar("T")

# What FastAPI writes for a route that is reached with a bearer token.
BEARER: Final[list[dict[str, list[str]]]] = [{"HTTPBearer": []}]


class Parameter(Generic[T]):
    """A parameter of the query; `kind` is the type that its text is read as.

    `more` is added to its schema in the document, as is the description.
    """

    def __init__(self, name: str, kind: Any, *, default: T, **more: Any) -> None:
        self.name = name
        self._reader: TypeAdapter[T] = TypeAdapter(kind)
        self._default = default
        self._more = more

    def of(self, request: Request) -> T:
        """Its value in this request, else the default; raises InvalidRequest.

        If it is there more than once, the last one counts.
        """
        text = request.query_params.get(self.name)
        if text is None:
            return self._default
        try:
            return self._reader.validate_python(text)
        except ValidationError as error:
            faults = [{**fault, "loc": (self.name,)} for fault in error.errors()]
            raise InvalidRequest(first_fault(faults)) from None

    @property
    def described(self) -> dict[str, Any]:
        """The parameter as OpenAPI has it."""
        default = {} if self._default is None else {"default": self._default}
        title = " ".join(part.capitalize() for part in self.name.split("_"))
        schema = {**self._reader.json_schema(), **self._more, **default, "title": title}
        about = {key: self._more[key] for key in ("description",) if key in self._more}
        return {"name": self.name, "in": "query", "required": False, "schema": schema, **about}


def path_parameter(name: str, **schema: Any) -> dict[str, Any]:
    """A part of the path as OpenAPI has it."""
    title = " ".join(part.capitalize() for part in name.split("_"))
    shown = {"type": "string", **schema, "title": title}
    return {"name": name, "in": "path", "required": True, "schema": shown}


def described(*parameters: dict[str, Any]) -> dict[str, Any]:
    """What a route that reads these parameters by hand says of itself."""
    return {"parameters": [*parameters], "security": BEARER}
