"""Receiving from mailboxes in a coroutine, which stands apart from them because they are compiled.

Called by the memory layer and by the local layer's broker for its own process.
"""

from __future__ import annotations

from collections.abc import Sequence

from daphne.layers.interface import BATCH
from daphne.layers.mailboxes import Batch, Closed, LoopEvent, Mailboxes


async def receive(boxes: Mailboxes, names: Sequence[str], limit: int = BATCH) -> Batch:
    """Wait for at least one message, and take up to `limit`. Cancelling loses nothing. Raises Closed."""
    while not (taken := boxes.take(names, limit)):
        if boxes.closed:
            raise Closed("the mailboxes are closed")
        event = LoopEvent()
        waiter = boxes.wait(names, event.set)
        try:
            await event.future
        except BaseException:
            boxes.stop_waiting(waiter)
            raise
    return taken
