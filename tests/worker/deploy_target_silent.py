"""A worker that receives requests and says nothing of it, as one does that dies in that moment.

Run by the deploy test as a process.
"""

from __future__ import annotations

import asyncio

from tests.worker.deploy_target import channel_layer


async def main() -> None:
    """Receive until killed."""
    print("receiving", flush=True)
    while True:
        for _, message in await channel_layer.receive_batch(["http.request"]):
            print("received", message["method"], flush=True)


if __name__ == "__main__":
    asyncio.run(main())
