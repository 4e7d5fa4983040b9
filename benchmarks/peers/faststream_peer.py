"""FastStream: one consumer with a prefetch of one, acknowledged after each job, which publishes a persistent result."""

from __future__ import annotations

import asyncio
import os
import sys

from faststream import FastStream
from faststream.rabbit import RabbitBroker, RabbitQueue
from faststream.rabbit.schemas import Channel

from benchmarks.peers.timing import Timing

JOBS = int(sys.argv[1])
broker = RabbitBroker(os.environ["PEER_URL"], default_channel=Channel(prefetch_count=1))
timing = Timing(JOBS)
QUEUE = RabbitQueue("faststream_jobs", durable=True)


@broker.subscriber(QUEUE)
@broker.publisher(RabbitQueue("faststream_results", durable=True), persist=True)
async def job(message: dict[str, int]) -> dict[str, int]:
    """Do nothing, and say so."""
    timing.count()
    return message


async def main() -> None:
    """Fill the queue, then empty it."""
    await broker.connect()
    await broker.declare_queue(QUEUE)
    for number in range(JOBS):
        await broker.publish({"job_id": number}, QUEUE, persist=True)
    await FastStream(broker).run()


if __name__ == "__main__":
    asyncio.run(main())
