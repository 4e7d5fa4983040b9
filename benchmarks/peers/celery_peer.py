"""Celery: one prefork child with a prefetch of one, late acknowledgement, no result backend."""

from __future__ import annotations

import os
import sys

import celery

from benchmarks.peers.timing import Timing

JOBS = int(sys.argv[1])
app = celery.Celery("celery_peer", broker=os.environ["PEER_URL"].replace("amqp://", "pyamqp://"))
app.conf.update(
    task_acks_late=True, worker_prefetch_multiplier=1, task_ignore_result=True, worker_redirect_stdouts=False
)
timing = Timing(JOBS)


@app.task(name="job")
def job(job_id: int) -> None:
    """Do nothing."""
    del job_id
    timing.count()


if __name__ == "__main__":
    for number in range(JOBS):
        job.delay(number)
    app.worker_main(["worker", "--concurrency=1", "--loglevel=error", "--without-gossip", "--without-mingle"])
