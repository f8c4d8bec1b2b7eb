"""What all adapters of foreign layers share: the errors they translate, and their close.

Inherited by `classic` and `coroutines`; calls `arrivals`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from daphne import errors
from daphne.layers.arrivals import Arrivals, Batch, Fetch, Names
from daphne.layers.interface import BATCH, Message
from daphne.layers.names import random_name, receiving_queues, single_reader_channel

log = logging.getLogger("daphne.layers")


class ForeignLayer(ABC):
    """The parts of `interface.AsyncLayer` that do not depend on how the foreign layer is called."""

    ChannelFull = errors.ChannelFull
    MessageTooLarge = errors.MessageTooLarge

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.extensions: Collection[str] = layer.extensions
        self.expiry: float = getattr(layer, "expiry", 60)
        self.group_expiry: float = getattr(layer, "group_expiry", 86400)
        self.client_prefix: str = getattr(layer, "client_prefix", None) or random_name()
        self._arrivals = Arrivals(self._begin, self._split, self._give_back)

    @abstractmethod
    def _begin(self, names: Names, limit: int) -> Fetch:
        """Start to receive."""

    @abstractmethod
    async def send_async(self, channel: str, message: Message) -> None:
        """See `interface.AsyncLayer`."""

    def _split(self, names: Names) -> list[Names]:
        return [names]

    async def receive_batch(self, channels: Sequence[str], limit: int = BATCH) -> Batch:
        """See `interface.AsyncLayer`."""
        return await self._arrivals.receive(tuple(receiving_queues(channels)), limit)

    async def close_async(self) -> None:
        """Give back what cancelled receives were about to get."""
        await self._arrivals.close()

    async def _give_back(self, batch: Batch) -> None:
        for channel, message in batch:
            try:
                await self.send_async(channel, message)
            except errors.LayerError as error:
                log.error("A message for %s could not be given back and is lost: %s", channel, error)

    def new_channel(self, pattern: str) -> str:
        """See `interface.AsyncLayer`."""
        return single_reader_channel(pattern)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """The foreign layer's errors as ours; what is none of its own counts as being out of reach."""
        try:
            yield
        except (errors.DaphneError, TypeError):
            raise
        except AssertionError as error:  # how layers of the asgiref family refuse names and messages
            raise TypeError(str(error)) from error
        except Exception as error:  # such as redis.ConnectionError, which we cannot know by name
            for name in ("ChannelFull", "MessageTooLarge"):
                if isinstance(error, getattr(self.layer, name, ())) or type(error).__name__ == name:
                    raise getattr(errors, name)(str(error)) from error
            raise errors.LayerUnavailable(f"{type(error).__name__}: {error}") from error
