"""Dramatiq: one worker thread in one process, its default acknowledgement, no results."""

from __future__ import annotations

import os
import sys
import time

#: Read when the package is imported.
os.environ["dramatiq_queue_prefetch"] = "1"  # noqa: SIM112 - its own spelling

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from benchmarks.peers.timing import Timing

JOBS = int(sys.argv[1])
broker = RabbitmqBroker(url=os.environ["PEER_URL"], confirm_delivery=True)
dramatiq.set_broker(broker)
timing = Timing(JOBS)


@dramatiq.actor
def job(job_id: int) -> None:
    """Do nothing."""
    del job_id
    timing.count()


if __name__ == "__main__":
    for number in range(JOBS):
        job.send(number)
    dramatiq.Worker(broker, worker_threads=1).start()
    time.sleep(600)
