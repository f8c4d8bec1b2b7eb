"""What an application may answer to a WebSocket: its acceptance, its refusal and its close, checked.

Called by the stream and by workers, so that an application hears the same of its mistakes wherever it runs;
`response` has the checks of what HTTP has too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daphne.errors import ApplicationError
from daphne.streams import closecodes
from daphne.streams.head import Headers
from daphne.streams.response import check_plain_fields, check_status

Event = Mapping[str, Any]


def check_accept(event: Event, offered: Sequence[str], own: Sequence[str]) -> tuple[str | None, Headers]:
    """The subprotocol and the header fields of a `websocket.accept`.

    `offered` are the client's subprotocols, `own` the server's where the application names none. Raises
    ApplicationError for one that was not offered and for fields that belong to the handshake.
    """
    headers = check_plain_fields(event.get("headers") or ())
    wanted = event.get("subprotocol")
    if wanted is None or wanted == "":  # daphne 4 took both for no choice
        wanted = next((name for name in offered if name in own), None)
    elif wanted not in offered:
        raise ApplicationError(
            f"Subprotocol {wanted!r} was not offered by the client (RFC 6455 section 4.2.2)"
        )
    for name, _ in headers:
        if name.startswith(b"sec-websocket-"):
            raise ApplicationError(f"Header {name!r} belongs to the handshake; use `subprotocol`")
    return None if wanted is None else str(wanted), headers


def check_denial_status(status: Any) -> int:
    """The status of a `websocket.http.response.start`. Raises ApplicationError for one that refuses nothing:
    over HTTP/2 a status of 2xx opens the WebSocket (RFC 8441 section 5).
    """
    checked = check_status(status)
    if checked < 300:
        raise ApplicationError(f"Status {checked} does not refuse a WebSocket")
    return checked


def check_close(event: Event) -> tuple[int, str]:
    """The code and the reason of a `websocket.close`. Raises ApplicationError for others than may be sent."""
    code, reason = event.get("code"), event.get("reason")
    if code is None:
        code = closecodes.NORMAL
    if not isinstance(code, int) or not closecodes.may_be_sent(code):
        raise ApplicationError(f"Close code {code!r} may not be sent (RFC 6455 section 7.4)")
    if reason and not isinstance(reason, str):
        raise ApplicationError(f"Close reason expected to be `str`, but got `{type(reason)}`")
    return int(code), reason or ""
