"""The pages that the server itself answers with.

Called by the streams, the protocols and the bridge. A page names the status and one fixed sentence, never an
exception's text, a path or a version.
"""

from __future__ import annotations

from http import HTTPStatus

PAGE_HEADERS = [(b"content-type", b"text/html; charset=utf-8")]

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 2em; }}
h1 {{ color: #896868; }}
footer {{ color: grey; font-style: italic; font-size: 80%; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{text}</p>
<footer>Daphne</footer>
</body>
</html>
"""

_SENTENCES = {
    400: "The request could not be understood.",
    403: "Access denied.",
    408: "The request did not arrive in time.",
    413: "The request body is too large.",
    414: "The request target is too long.",
    417: "The expectation cannot be met.",
    426: "WebSocket version 13 is required.",
    431: "The request header is too large.",
    500: "Exception inside application.",
    501: "The method is not implemented.",
    503: "The server is busy.",
    505: "The HTTP version is not supported.",
}


def reason_phrase(status: int) -> str:
    """The standard reason phrase of a status code, or `Unknown Status`."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown Status"


def error_page(status: int, text: str | None = None) -> bytes:
    """The HTML page for `status`; `text` is a fixed ASCII sentence, by default the one for that status."""
    title = f"{status} {reason_phrase(status)}"
    return _PAGE.format(title=title, text=text or _SENTENCES.get(status, "")).encode("ascii")
