"""Every error that daphne raises, as one tree. Each knows what it says on the wire or to the shell.

Called by everything; calls nothing.

    DaphneError
    ├── ConfigurationError            exit status 2: an option, a file or a combination that cannot work
    │   ├── InvalidSettings           exit status 2: `problems`, one line for each setting that cannot work
    │   ├── TargetError               exit status 1: the `module:attribute` cannot be imported or is neither
    │   │                             a channel layer nor an application
    │   └── EndpointError             exit status 1: an endpoint that is unknown or cannot listen
    ├── LifespanError                 exit status 1: the application's start-up failed
    ├── RequestRefused                `status`: a request that is answered by the server itself
    ├── StreamReset                   `code`: an HTTP/2 stream ends with RST_STREAM
    ├── ConnectionFailed              `code`: an HTTP/2 connection ends with GOAWAY
    ├── ApplicationError (ValueError) what an application sent is not what ASGI or HTTP allow
    ├── ClientDisconnected (OSError)  raised by `send()` once the client has gone
    └── LayerError
        ├── ChannelFull               the channel holds as many messages as its capacity
        ├── MessageTooLarge           the message is larger than the layer carries
        └── LayerUnavailable          the layer cannot be reached just now
"""

from __future__ import annotations


class DaphneError(Exception):
    """The root of the tree."""


class ConfigurationError(DaphneError):
    """Something the operator wrote cannot work. Its text is one line that says what and why."""

    exit_status = 2


class InvalidSettings(ConfigurationError):
    """Settings that cannot work; `problems` has one line for each, which names the setting."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class TargetError(ConfigurationError):
    """The target cannot be imported, or is neither a channel layer nor an ASGI application."""

    exit_status = 1


class EndpointError(ConfigurationError):
    """An endpoint string is unknown, or its port, path, descriptor or key cannot be used."""

    exit_status = 1


class LifespanError(DaphneError):
    """The application said `lifespan.startup.failed`, or raised while `--lifespan on` demands an answer."""

    exit_status = 1


class RequestRefused(DaphneError):
    """A request that the server answers itself, before or instead of the application.

    `status` is the HTTP status code; the text is for the log and never reaches the client;
    `headers` go out with the answer (RFC 9110 section 15 names what a status must carry).
    """

    def __init__(
        self, status: int, reason: str, headers: tuple[tuple[bytes, bytes], ...] = (), limit: str = ""
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers
        self.limit = limit
        """The name of the setting that fired, or an empty string."""


class StreamReset(DaphneError):
    """An HTTP/2 stream error (RFC 9113 section 5.4.2): `code` goes out in RST_STREAM."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ConnectionFailed(DaphneError):
    """An HTTP/2 connection error (RFC 9113 section 5.4.1): `code` goes out in GOAWAY."""

    def __init__(self, code: int, reason: str, limit: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.limit = limit
        """The name of the setting that fired, or an empty string."""


class ApplicationError(DaphneError, ValueError):
    """An event from the application that ASGI or HTTP do not allow: wrong type, order or content.

    It is raised out of the application's own `await send(...)`, before the first byte of the event
    has been written.
    """


class ClientDisconnected(DaphneError, OSError):
    """The client has gone; raised by `send()` (ASGI HTTP and WebSocket specification 2.4)."""


class LayerError(DaphneError):
    """A channel layer could not do what it was asked."""


class ChannelFull(LayerError):
    """The channel holds as many messages as its capacity allows."""


class MessageTooLarge(LayerError):
    """The message is larger than the layer can carry."""


class LayerUnavailable(LayerError):
    """The layer (its server, socket or broker) cannot be reached just now."""
