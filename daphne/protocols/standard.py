"""What every response begins with: the status line, and the fields Date and Server.

One per site.Site; asked by http1_response and http2_hpack for every response, so all of it is computed once a
second.
"""

from __future__ import annotations

import time
from email.utils import formatdate

from daphne.settings import Settings
from daphne.streams.head import Headers
from daphne.streams.pages import reason_phrase
from daphne.streams.response import ResponseHead


def status_line(status: int, version: str) -> bytes:
    """The status line (RFC 9112 section 4) without its CRLF, in the version that the client speaks."""
    return f"HTTP/{version} {status} {reason_phrase(status)}".encode("ascii")


class StandardFields:
    """Date (RFC 9110 section 6.6.1) and Server, in the forms that the protocols write."""

    def __init__(self, settings: Settings) -> None:
        self._with_date = settings.date_header
        self._server = settings.server_name
        self._second = 0
        """The second that Date says."""
        self._lines: list[bytes] = []
        self._fields: Headers = []
        self._starts: dict[int, bytes] = {}
        self._old_starts: dict[int, bytes] = {}

    def start(self, status: int, version: str) -> bytes:
        """Status line and fields as lines of HTTP/1, without their last CRLF."""
        if int(time.time()) != self._second:
            self._renew()
        starts = self._starts if version == "1.1" else self._old_starts
        start = starts.get(status)
        if start is None:
            start = starts[status] = b"\r\n".join([status_line(status, version), *self._lines])
        return start

    def start_beside(self, head: ResponseHead, version: str) -> bytes:
        """The same for a response whose application gave some of these fields itself."""
        self.fields()
        own = [name for name, _ in head.headers]
        lines = [line for line in self._lines if line.partition(b":")[0] not in own]
        return b"\r\n".join([status_line(head.status, version), *lines])

    def fields(self) -> Headers:
        """Pairs of names and values; the same list until the second is over."""
        if int(time.time()) != self._second:
            self._renew()
        return self._fields

    def _renew(self) -> None:
        self._second = now = int(time.time())
        self._starts = {}
        self._old_starts = {}
        self._fields = []
        if self._with_date:
            self._fields.append((b"date", formatdate(now, usegmt=True).encode("ascii")))
        if self._server:
            self._fields.append((b"server", self._server.encode("latin-1")))
        self._lines = [name + b": " + value for name, value in self._fields]
