"""Small layers of the classic specification, in the shape of asgiref 1.1's in-memory layer: blocking calls, a
`receive` that never waits, AssertionError for the reserved key. That asgiref cannot be beside today's.

Used by the kinds of layers that the conformance suite runs over.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import random
import re
import string
import threading
import time
from collections import deque

from twisted.internet.defer import Deferred


class ClassicLayer:
    """What asgiref 1.1's in-memory layer does, by its specification."""

    extensions = ["groups", "flush"]

    class ChannelFull(Exception):
        pass

    class MessageTooLarge(Exception):
        pass

    def __init__(self, expiry=60, group_expiry=86400, capacity=10, channel_capacity=None):
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacity = capacity
        self._channels = {}
        self._groups = {}
        self._lock = threading.Lock()
        self.threads = set()
        """The threads that called `send` or `receive`."""

    def send(self, channel, message):
        self.threads.add(threading.get_ident())
        assert isinstance(message, dict), "message is not a dict"
        assert "__asgi_channel__" not in message
        self._check(channel)
        if channel[-1] in "!?":
            raise TypeError("a full name is needed to send")
        message = copy.deepcopy(message)
        queue = channel
        if "!" in channel:
            message["__asgi_channel__"] = channel
            queue = channel.partition("!")[0] + "!"
        with self._lock:
            self._forget_expired()
            messages = self._channels.setdefault(queue, deque())
            if len(messages) >= self.capacity:
                raise self.ChannelFull(channel)
            messages.append((time.monotonic() + self.expiry, message))

    def receive(self, channels, block=False):
        self.threads.add(threading.get_ident())
        assert isinstance(channels, (list, tuple))
        channels = list(channels)
        for channel in channels:
            self._check(channel)
            if "!" in channel and channel[-1] != "!":
                raise TypeError("a process-local channel is received on up to its '!'")
        random.shuffle(channels)
        with self._lock:
            self._forget_expired()
            for channel in channels:
                if self._channels.get(channel):
                    _, message = self._channels[channel].popleft()
                    return message.pop("__asgi_channel__", channel), message
        return None, None

    def new_channel(self, pattern):
        assert pattern.endswith("?")
        return pattern + "".join(random.choices(string.ascii_letters, k=12))

    def group_add(self, group, channel):
        with self._lock:
            self._groups.setdefault(group, {})[channel] = time.monotonic()

    def group_discard(self, group, channel):
        with self._lock:
            self._groups.get(group, {}).pop(channel, None)

    def group_channels(self, group):
        with self._lock:
            since = time.monotonic() - self.group_expiry
            return [channel for channel, added in self._groups.get(group, {}).items() if added > since]

    def send_group(self, group, message):
        for channel in self.group_channels(group):
            with contextlib.suppress(self.ChannelFull):
                self.send(channel, message)

    def flush(self):
        with self._lock:
            self._channels.clear()
            self._groups.clear()

    def _forget_expired(self):
        for messages in self._channels.values():
            while messages and messages[0][0] < time.monotonic():
                messages.popleft()

    @staticmethod
    def _check(name):
        if not isinstance(name, str) or len(name) >= 100:
            raise TypeError("a name is text of fewer than 100 characters")
        if not re.fullmatch(r"[a-zA-Z\d\-_.]+([?!][\w\-_.]*)?", name, re.ASCII):
            raise TypeError(f"not a name: {name}")


class ClassicWaitingLayer(ClassicLayer):
    """`receive` waits for up to half a second when asked to block, as asgi_redis does for five."""

    def receive(self, channels, block=False):
        deadline = time.monotonic() + 0.5
        while True:
            channel, message = super().receive(channels)
            if channel is not None or not block or time.monotonic() > deadline:
                return channel, message
            time.sleep(0.002)


class ClassicTwistedLayer(ClassicLayer):
    """The `twisted` extension: `receive_twisted` returns a Deferred, empty after a while."""

    extensions = ["groups", "flush", "twisted"]

    def receive(self, channels, block=False):
        raise RuntimeError("receive_twisted is there, and is to be preferred")

    def receive_twisted(self, channels):
        return Deferred.fromFuture(asyncio.ensure_future(self._receive_soon(channels)))

    async def _receive_soon(self, channels):
        for _ in range(200):
            channel, message = super().receive(channels)
            if channel is not None:
                return channel, message
            await asyncio.sleep(0.002)
        return None, None
