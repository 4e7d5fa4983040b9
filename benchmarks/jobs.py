"""
Jobs per second, latency, progression cost, start-up and memory: this SDK, and the reference beside it if it is given.

Run it with nothing else on the machine::

    python -m benchmarks.jobs --reference /path/to/venv-of-the-reference/bin/python --json jobs.json

A private RabbitMQ node and a stand-in for the backend are started and removed again. ``benchmarks/README.md`` says how
each figure is taken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.environment import installed_package
from benchmarks.peers.running import PEERS, cpu_seconds, environment_of_peers, peer_rate, peer_url
from tests.support.backend import BackendStandIn
from tests.support.rabbitmq import RabbitMqNode, VirtualHost
from tests.support.tap import Tap
from tests.support.workers import QUEUE, WorkerProcess, code_order

ECHO = Path(__file__).parent / "peers" / "echo.py"
STARTS = 3
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
    cpu_ms_per_job: float
    median_latency_ms: float
    progression_us: float
    start_seconds: float
    idle_pss_mb: float


@dataclass(frozen=True, slots=True)
class Target:
    """What this SDK aims at, and how the figures are held against it."""

    figure: str
    text: str
    is_met: Callable[[float, float | None], bool | None]
    """Called with our figure and the reference's; ``None`` when there is no telling without the reference."""


TARGETS = (
    Target(
        "jobs_per_second", ">= 40 x reference", lambda ours, theirs: None if theirs is None else ours >= 40 * theirs
    ),
    Target(
        "median_latency_ms", "<= reference / 10", lambda ours, theirs: None if theirs is None else ours <= theirs / 10
    ),
    Target("progression_us", "< 20", lambda ours, _: ours < 20),
    Target(
        "start_seconds", "<= 1.5 x reference", lambda ours, theirs: None if theirs is None else ours <= 1.5 * theirs
    ),
    Target("idle_pss_mb", "< 90", lambda ours, _: ours < 90),
)


async def measure(host: VirtualHost, backend: BackendStandIn, python: str, jobs: int) -> Figures:
    """Run one SDK's worker through all measurements."""
    environment = backend.environ("BACKEND")
    # A worker waits until its results are safe: the tap must not make the broker write them to disk for it.
    async with Tap(host, durable=False) as tap:
        starts = [await _start_seconds(host, tap, python, environment) for _ in range(STARTS - 1)]
        began = time.perf_counter()
        async with WorkerProcess(host, python=python, environment=environment) as worker:
            await tap.wait_for("worker_created", count=STARTS)
            starts.append(time.perf_counter() - began)
            await _warm_up(tap)
            latency_ms = await _latency_ms(tap)
            progression_us = await _progression_us(tap)
            pss_mb = _pss_mb(worker.pid)
            worker.send_signal(signal.SIGTERM)
            await worker.ended()
        # The queue is durable: filled while nobody is there, it is emptied as fast as the next worker can.
        for job_id in range(jobs):
            await tap.submit(QUEUE, code_order(1000 + job_id, "ret = {}"))
        tap.messages.clear()
        async with WorkerProcess(host, python=python, environment=environment) as worker:
            throughput, cpu_ms = await _throughput(tap, jobs, worker.pid)
    return Figures(throughput, cpu_ms, latency_ms, progression_us, statistics.median(starts), pss_mb)


async def _start_seconds(host: VirtualHost, tap: Tap, python: str, environment: dict[str, str]) -> float:
    count = len(tap.out("worker_created")) + 1
    began = time.perf_counter()
    async with WorkerProcess(host, python=python, environment=environment) as worker:
        await tap.wait_for("worker_created", count=count)
        seconds = time.perf_counter() - began
        worker.send_signal(signal.SIGTERM)
        await worker.ended()
    return seconds


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


async def _throughput(tap: Tap, jobs: int, pid: int) -> tuple[float, float]:
    """Jobs a second and processor milliseconds a job, from the first result to the last."""
    # A progression and a result a job. Counting anew which is which at each message would take the processor from the
    # worker, so the first result is waited for, and then all that is to come.
    await tap.wait_for("job_completed", timeout_seconds=60)
    seen, cpu_began = len(tap.out("job_completed")), cpu_seconds(pid)
    announcements = sum(message["routing_key"].startswith("worker_") for message in tap.messages)
    await tap.wait_until(lambda: len(tap.messages) >= announcements + 2 * jobs, timeout_seconds=600)
    cpu_ms = 1000 * (cpu_seconds(pid) - cpu_began) / (jobs - seen)
    completed = tap.out("job_completed")
    assert len(completed) == jobs, f"{len(completed)} of {jobs} jobs completed"
    return (jobs - 1) / (completed[-1]["t"] - completed[0]["t"]), cpu_ms


async def echo_rate(host: VirtualHost, python: str, jobs: int) -> tuple[float, float]:
    """What a bare loop does with the same orders, on a queue of the same arguments and under the same tap."""
    async with Tap(host, durable=False) as tap:
        # A worker declares what the loop only uses.
        async with WorkerProcess(host):
            await tap.wait_for("worker_created")
        for job_id in range(jobs):
            await tap.submit(QUEUE, code_order(job_id, "ret = {}"))
        tap.messages.clear()
        environment = {**os.environ, "PEER_URL": peer_url(host), "PEER_QUEUE": QUEUE}
        echo = await asyncio.create_subprocess_exec(python, str(ECHO), env=environment)
        try:
            return await _throughput(tap, jobs, echo.pid)
        finally:
            echo.kill()
            await echo.wait()


async def measure_peers(node: RabbitMqNode, own_python: str, jobs: int, rounds: int) -> None:
    """Print jobs a second of a bare loop, of this SDK and of others, in turn, and the medians of their ratios."""
    backend = BackendStandIn()
    rates: dict[str, list[tuple[float, float]]] = {}
    with backend, environment_of_peers() as peers_python:
        for _ in range(rounds):
            with node.vhost() as host:
                rates.setdefault("echo", []).append(await echo_rate(host, peers_python, jobs))
            with node.vhost() as host:
                rates.setdefault("this SDK", []).append(await _own_rate(host, backend, own_python, jobs))
            for name, script in PEERS.items():
                with node.vhost() as host:
                    rate = await asyncio.to_thread(peer_rate, peers_python, script, host, jobs)
                    rates.setdefault(name, []).append(rate)
            print({name: f"{found[-1][0]:.0f}/s" for name, found in rates.items()}, flush=True)
    print(f"{'':12} {'jobs/s':>8} {'of echo':>8} {'spread':>12} {'cpu ms/job':>11}")
    for name, found in rates.items():
        ratios = sorted(rate / echo for (rate, _), (echo, _) in zip(found, rates["echo"], strict=True))
        print(
            f"{name:12} {statistics.median(rate for rate, _ in found):8.0f} {statistics.median(ratios):8.2f} "
            f"{ratios[0]:6.2f}-{ratios[-1]:.2f} {statistics.median(cpu for _, cpu in found):11.2f}"
        )


async def _own_rate(host: VirtualHost, backend: BackendStandIn, python: str, jobs: int) -> tuple[float, float]:
    environment = backend.environ("BACKEND")
    async with Tap(host, durable=False) as tap:
        async with WorkerProcess(host, python=python, environment=environment) as worker:
            await tap.wait_for("worker_created")
        for job_id in range(jobs):
            await tap.submit(QUEUE, code_order(1000 + job_id, "ret = {}"))
        tap.messages.clear()
        async with WorkerProcess(host, python=python, environment=environment) as worker:
            return await _throughput(tap, jobs, worker.pid)


def _pss_mb(pid: int) -> float:
    supervisor = psutil.Process(pid)
    processes = [supervisor, *supervisor.children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes) / 2**20


def show(figures: dict[str, Figures]) -> None:
    """Print the figures beside each other, with the targets."""
    ours, theirs = figures["this SDK"], figures.get("reference")
    print(f"{'':20} {'this SDK':>12} {'reference':>12}  target")
    for target in TARGETS:
        own = getattr(ours, target.figure)
        other = None if theirs is None else getattr(theirs, target.figure)
        verdict = {True: "met", False: "MISSED", None: "needs the reference"}[target.is_met(own, other)]
        print(
            f"{target.figure:20} {own:12.2f} {'-' if other is None else format(other, '12.2f'):>12}  "
            f"{target.text:20} {verdict}"
        )


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--reference", help="interpreter that has mcai-worker-sdk 2.1.1")
    parser.add_argument("--jobs", type=int, default=3000, help="jobs for the throughput (the reference gets a tenth)")
    parser.add_argument(
        "--peers", type=int, metavar="ROUNDS", help="instead, a bare loop and other frameworks beside us"
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    print(f"Jobs under a private RabbitMQ node; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    node = RabbitMqNode()
    await asyncio.to_thread(node.start)
    figures: dict[str, Figures] = {}
    try:
        if options.peers:
            with installed_package() as own_python:
                await measure_peers(node, own_python, options.jobs, options.peers)
            return
        with BackendStandIn() as backend, installed_package() as own_python:
            for name, python, jobs in (
                ("this SDK", own_python, options.jobs),
                ("reference", options.reference, options.jobs // 10),
            ):
                if python is not None:
                    with node.vhost() as host:
                        figures[name] = await measure(host, backend, python, jobs)
    finally:
        node.remove()
    show(figures)
    if options.json is not None:
        content = {name: asdict(values) for name, values in figures.items()}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
