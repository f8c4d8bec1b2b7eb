"""The wire format of classic Redis layers (asgi_redis 1.x): names of keys, bodies of messages, which host.

Called by the Redis layer; calls msgpack and, where keys are given, cryptography. Pure: no socket, and no
clock but Fernet's own.
"""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import Sequence
from typing import Any

import msgpack

from daphne.errors import ConfigurationError, LayerError, MessageTooLarge
from daphne.layers.copying import check_values
from daphne.layers.interface import LOCAL_KEY, Message
from daphne.layers.packing import packed

LATE = 10
"""Seconds by which an encrypted message may be older than `expiry` before it is refused."""


class WireFormat:
    """How one Redis layer writes: `prefix` and `stats_prefix` of its keys, Fernet `keys`, limits."""

    def __init__(
        self,
        prefix: str,
        stats_prefix: str,
        keys: Sequence[str | bytes],
        expiry: float,
        max_message_size: int,
    ) -> None:
        self.prefix = prefix
        self.stats_prefix = stats_prefix
        self.global_count = f"{stats_prefix}#global#:"
        self._max_message_size = max_message_size
        self._fernet = _fernet(keys) if keys else None
        self._oldest = int(expiry + LATE)
        self.expiry_ms = int(expiry * 1000)

    def queue(self, name: str) -> str:
        """The key of a channel's list."""
        return self.prefix + name

    def new_body(self) -> str:
        """An unused key for the body of a message."""
        return f"{self.prefix}{random.getrandbits(128):032x}"

    def group(self, group: str) -> str:
        """The key of a group's sorted set."""
        return f"{self.prefix}:group:{group}"

    def count(self, name: str) -> str:
        """What the keys of a channel's statistics begin with."""
        return f"{self.stats_prefix}{name}:"

    def pack(self, channel: str, message: Message) -> bytes:
        """The body of `message`. Raises MessageTooLarge, and TypeError for what no message may hold."""
        check_values(message)
        if "!" in channel:
            message = {**message, LOCAL_KEY: channel}
        try:
            body = packed(message)
        except (OverflowError, ValueError) as error:  # integers of more than 64 bits; nested too deeply
            raise TypeError(f"not a message: {error}") from error
        if len(body) > self._max_message_size:
            raise MessageTooLarge(
                f"{len(body)} bytes for {channel}; the layer carries {self._max_message_size}"
            )
        return self._fernet.encrypt(body) if self._fernet else body

    def unpack(self, name: str, body: bytes) -> tuple[str, Message]:
        """The full channel name and the message. LayerError for a body that is none, or not ours to read."""
        try:
            if self._fernet:
                body = self._fernet.decrypt(body, ttl=self._oldest)
            message: Any = msgpack.unpackb(body, raw=False, strict_map_key=False)
        except Exception as error:  # msgpack and cryptography raise many kinds, all of which mean this
            raise LayerError(f"a message on {name} cannot be read: {type(error).__name__} {error}") from error
        if not isinstance(message, dict):
            raise LayerError(f"a message on {name} is a {type(message).__name__}")
        return message.pop(LOCAL_KEY, name), message


def ring_position(name: str, hosts: int) -> int:
    """Which of the hosts has the queues with a marker in their name, and the groups."""
    return int((zlib.crc32(name.encode()) & 0xFFF) / (4096 / hosts))


def is_pinned(name: str) -> bool:
    """Whether a queue lives on one host; all others are spread over all hosts."""
    return "!" in name or "?" in name


def _fernet(keys: Sequence[str | bytes]) -> Any:
    if isinstance(keys, (str, bytes)):
        raise ConfigurationError("symmetric_encryption_keys is a list of keys, even if there is only one")
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError as error:
        raise ConfigurationError(
            "symmetric_encryption_keys needs the package cryptography, which is not installed"
        ) from error
    digests = [hashlib.sha256(key.encode() if isinstance(key, str) else key).digest() for key in keys]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
