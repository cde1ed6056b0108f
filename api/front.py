"""The page that a person sees who opens the address in a browser: what this is, and how to ask it.

It shows nothing of what is stored, and needs no token.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from api.routes import OpenRoute

router = APIRouter(route_class=OpenRoute)

# Nothing is loaded from anywhere, no script runs, and no other page can show this one in a frame.
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    )
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Turnstream</title>
<style>body { font: 1rem/1.5 sans-serif; max-width: 45rem; margin: 3rem auto; padding: 0 1rem }
pre { overflow-x: auto }</style>
<h1>Turnstream</h1>
<p>This is the session store of an AI agent. Programs and agents talk to it with a token.</p>
<ul>
<li><a href="/readyz">/readyz</a> says whether all is well.</li>
<li><code>/api/tools</code> has the session tools, <code>/mcp</code> the same for MCP clients.</li>
<li><code>/openapi.json</code> describes all routes. It needs a token, as this shows:</li>
</ul>
<pre>curl -H "Authorization: Bearer $(cat ~/.turnstream/token)" URL/openapi.json</pre>
<p>That is the administrator's token, in the workspace if no other was chosen.</p>
<p>The command <code>turnstream</code> shows the same on a terminal:</p>
<pre>turnstream sessions list
turnstream status</pre>
</html>
"""


@router.get("/", include_in_schema=False)
async def front() -> HTMLResponse:
    """The page for people."""
    return HTMLResponse(_PAGE, headers=_HEADERS)
