"""What every HTTP route of ingest has in common: errors in the one form, and a count."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from ingest.services import Services
from routing.routes import GuardedRoute


class IngestRoute(GuardedRoute):
    """A route that counts its answers. Who may call it is the handler's to say."""

    def complete(self, request: Request, response: Response, seconds: float) -> None:
        """Count the answer, and give it the headers of every answer."""
        super().complete(request, response, seconds)
        metrics = services_of(request).metrics
        metrics.request(self.path_format, request.method, response.status_code)


def services_of(request: Request) -> Services:
    """What the ingest process that this request came to has open."""
    return cast("Services", request.app.state.ingest)
