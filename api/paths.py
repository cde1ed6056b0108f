"""The session id in a path: one segment, percent-encoded, so that a `/` in a key is `%2F`.

The server decodes paths for us, after which `a/b` and `a%2Fb` are the same and what is no UTF-8 is
lost. So ids are read from the path as it was sent.
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote, unquote_to_bytes

from fastapi import Depends
from starlette.requests import Request
from starlette.routing import Match
from starlette.types import Scope

from api.routes import TokenRoute
from sessions.web.rejections import NotFound, Refused


class PartRoute(TokenRoute):
    """A route to a part of a session: the segment behind the id says which.

    Such routes come before those of `resources`, which would take that segment for a piece of the
    key: a key may end with it as well.
    """

    part: ClassVar[str]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the route is meant, told from the path as it was sent."""
        if scope["type"] != "http" or raw_path(scope).split(b"/")[4:5] != [self.part.encode()]:
            return Match.NONE, {}
        return super().matches(scope)


def raw_path(scope: Scope) -> bytes:
    """The path as it was sent, without what the app is mounted under."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return raw.removeprefix(scope.get("root_path", "").encode())


def path_id(*rest: str | None) -> Any:
    """The dependency that reads the id from the path in front of `rest`."""

    async def read(request: Request, session_id: str) -> str:
        del session_id
        return id_in_path(request, *rest)

    return Depends(read)


def id_in_path(request: Request, *rest: str | None) -> str:
    """The id in the path in front of `rest`, from its raw bytes; raises NotFound and Refused.

    None in `rest` stands for any segment.
    """
    segments = raw_path(request.scope).split(b"/")
    wanted = ["", "api", "sessions", None, *rest]
    if len(segments) != len(wanted) or not all(map(_fits, wanted, segments)):
        raise NotFound("there is no such route; write a / inside a session id as %2F")
    try:
        return unquote_to_bytes(segments[3]).decode()
    except UnicodeDecodeError:
        raise Refused(400, "the session id in the path is not UTF-8", "invalid_path") from None


def _fits(wanted: str | None, segment: bytes) -> bool:
    return wanted is None or wanted.encode() == segment
