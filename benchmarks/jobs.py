"""
Jobs per second, latency, progression cost, start-up and memory: this SDK, and the reference beside it if it is given.

Run it with nothing else on the machine::

    python -m benchmarks.jobs --reference /path/to/venv-of-the-reference/bin/python --json jobs.json

A private RabbitMQ node and a stand-in for the backend are started and removed again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tests.support.backend import BackendStandIn
from tests.support.rabbitmq import RabbitMqNode, VirtualHost
from tests.support.tap import Tap
from tests.support.workers import QUEUE, WorkerProcess, code_order

LATENCY_JOBS = 40
#: A trivial job's progression calls; each costs the reference about 11 ms.
PROGRESSION_CALLS = 100
PROGRESSION_CODE = f"""
spent = []
for i in range({PROGRESSION_CALLS}):
    began = time.perf_counter_ns()
    ch.publish_job_progression(i)
    spent.append(time.perf_counter_ns() - began)
ret = {{"destination_paths": [str(sorted(spent)[len(spent) // 2])]}}
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one SDK did."""

    jobs_per_second: float
    median_latency_ms: float
    progression_us: float
    start_seconds: float
    idle_pss_mb: float


async def measure(host: VirtualHost, backend: BackendStandIn, python: str, jobs: int) -> Figures:
    """Run one worker through all measurements."""
    environment = backend.environ("BACKEND")
    async with Tap(host) as tap:
        began = time.perf_counter()
        async with WorkerProcess(host, python=python, environment=environment) as worker:
            await worker.created(tap)
            start_seconds = time.perf_counter() - began
            await _warm_up(tap)
            latency_ms = await _latency_ms(tap)
            progression_us = await _progression_us(tap)
            throughput = await _jobs_per_second(tap, jobs)
            pss_mb = _pss_mb(worker.pid)
            worker.send_signal(signal.SIGTERM)
            await worker.ended()
    return Figures(throughput, latency_ms, progression_us, start_seconds, pss_mb)


async def _warm_up(tap: Tap) -> None:
    for job_id in range(5):
        await tap.submit(QUEUE, code_order(job_id, "ret = {}"))
    await tap.wait_for("job_completed", count=5)


async def _latency_ms(tap: Tap) -> float:
    seconds = []
    for job_id in range(LATENCY_JOBS):
        tap.messages.clear()
        began = time.perf_counter()
        await tap.submit(QUEUE, code_order(100 + job_id, "ret = {}"))
        await tap.wait_for("job_completed")
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


async def _progression_us(tap: Tap) -> float:
    tap.messages.clear()
    await tap.submit(QUEUE, code_order(200, PROGRESSION_CODE))
    (completed,) = await tap.wait_for("job_completed")
    return int(completed["body"]["destination_paths"][0]) / 1000


async def _jobs_per_second(tap: Tap, jobs: int) -> float:
    await tap.direct({"type": "stop_consuming_jobs"})
    await tap.wait_for("worker_status")
    tap.messages.clear()
    for job_id in range(jobs):
        await tap.submit(QUEUE, code_order(1000 + job_id, "ret = {}"))
    began = time.perf_counter()
    await tap.direct({"type": "resume_consuming_jobs"})
    await tap.wait_for("job_completed", count=jobs, timeout_seconds=600)
    return jobs / (time.perf_counter() - began)


def _pss_mb(pid: int) -> float:
    supervisor = psutil.Process(pid)
    processes = [supervisor, *supervisor.children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes) / 2**20


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--reference", help="interpreter that has mcai-worker-sdk 2.1.1")
    parser.add_argument("--jobs", type=int, default=3000, help="jobs for the throughput (the reference gets a tenth)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    node = RabbitMqNode()
    await asyncio.to_thread(node.start)
    figures: dict[str, Figures] = {}
    try:
        with BackendStandIn() as backend:
            for name, python, jobs in (
                ("this SDK", sys.executable, options.jobs),
                ("reference", options.reference, options.jobs // 10),
            ):
                if python is not None:
                    with node.vhost() as host:
                        figures[name] = await measure(host, backend, python, jobs)
                    print(name, {key: round(value, 3) for key, value in asdict(figures[name]).items()}, flush=True)
    finally:
        node.remove()
    if options.json is not None:
        options.json.write_text(json.dumps({name: asdict(values) for name, values in figures.items()}, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
