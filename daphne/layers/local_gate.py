"""What a process gives to and gets from the local layer's broker in itself, packed and unpacked.

Made by `local`, for the process that is the broker; calls the mailboxes. Compiled (setup.py), for every
message of that process passes here, and none of them waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgpack

from daphne.errors import MessageTooLarge
from daphne.layers.interface import Message
from daphne.layers.mailboxes import Closed, Mailboxes
from daphne.layers.names import sending_queue
from daphne.layers.packing import packed

log = logging.getLogger("daphne.layers.local")


class Gate:
    """The way to the mailboxes of the broker in this process: `boxes`, while there is one and it stays."""

    def __init__(self, max_message_size: int) -> None:
        self._max_message_size = max_message_size
        self.boxes: Mailboxes | None = None

    @property
    def is_open(self) -> bool:
        """See `interface.Gate`."""
        return self.boxes is not None

    def give(self, channel: str, message: Message) -> bool:
        """See `interface.PromptLayer`."""
        boxes = self.boxes
        if boxes is None:
            return False
        name = sending_queue(channel)
        try:
            boxes.put(name, channel, self.pack(channel, message))
        except Closed:
            return False
        return True

    def give_packed(self, queue: str, channel: str, body: bytes) -> bool:
        """See `interface.Gate`."""
        boxes = self.boxes
        if boxes is None:
            return False
        if len(body) > self._max_message_size:
            raise self._too_large(channel, body)
        try:
            boxes.put(queue, channel, body)
        except Closed:
            return False
        return True

    def pack(self, channel: str, message: Message) -> bytes:
        """The message for `channel` in MessagePack. Raises MessageTooLarge, TypeError."""
        try:
            body = packed(message)
        except (OverflowError, ValueError) as error:  # integers of more than 64 bits; nested too deeply
            raise TypeError(f"not a message: {error}") from error
        if len(body) > self._max_message_size:
            raise self._too_large(channel, body)
        return body

    def _too_large(self, channel: str, body: bytes) -> MessageTooLarge:
        return MessageTooLarge(f"{len(body)} bytes for {channel}; the layer carries {self._max_message_size}")


class Unpacker:
    """Gives unpacked to `take` what comes packed."""

    def __init__(self, take: Callable[[str, Message], None]) -> None:
        self._take = take

    def unpack(self, channel: str, packed_message: bytes) -> None:
        """Take one message."""
        try:
            message = msgpack.unpackb(packed_message, raw=False)
        except ValueError as error:  # its sender is told of nothing: it goes on for others
            log.error("A message for %s is dropped: it is not MessagePack (%s)", channel, error)
            return
        self._take(channel, message)
