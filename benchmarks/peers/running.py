"""Runs a peer from an environment of its own, and takes its time and its processes' time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.rabbitmq import VirtualHost

__all__ = ["PEERS", "cpu_seconds", "environment_of_peers", "peer_rate", "peer_url"]

#: After this a peer that says nothing has failed.
PATIENCE_SECONDS = 300.0
ROOT = Path(__file__).resolve().parents[2]
#: Name of each peer, and its script.
PEERS = {"FastStream": "faststream_peer", "Dramatiq": "dramatiq_peer", "Celery": "celery_peer"}
PACKAGES = ("celery", "dramatiq[rabbitmq]", "faststream[rabbit]", "pika")


@contextmanager
def environment_of_peers() -> Iterator[str]:
    """
    Install the peers beside each other.

    Yields:
        The environment's interpreter.
    """
    with tempfile.TemporaryDirectory(prefix="mcai-peers-") as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = str(Path(folder) / "bin" / "python")
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True
        )
        yield python


def peer_url(host: VirtualHost) -> str:
    """The virtual host as an AMQP address."""
    return f"amqp://{host.username}:{host.password}@127.0.0.1:{host.port}/{host.name}"


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and of those below it, in seconds."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def peer_rate(python: str, script: str, host: VirtualHost, jobs: int) -> tuple[float, float]:
    """
    Have a peer fill its queue and empty it.

    Returns:
        Jobs a second, from its first job to its last, and processor milliseconds a job.
    """
    environment = {**os.environ, "PEER_URL": peer_url(host), "PYTHONPATH": str(ROOT)}
    command = [python, "-m", f"benchmarks.peers.{script}", str(jobs)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    ) as peer:
        assert peer.stdout is not None
        patience = threading.Timer(PATIENCE_SECONDS, os.killpg, (peer.pid, signal.SIGKILL))
        patience.start()
        try:
            moments = [_when(peer, line) for line in ("first", "last")]
        finally:
            patience.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(peer.pid, signal.SIGKILL)
    (began, cpu_began), (ended, cpu_ended) = moments
    return (jobs - 1) / (ended - began), 1000 * (cpu_ended - cpu_began) / (jobs - 1)


def _when(peer: subprocess.Popen[str], line: str) -> tuple[float, float]:
    assert peer.stdout is not None
    for said in peer.stdout:
        if said.strip() == line:
            return time.perf_counter(), cpu_seconds(peer.pid)
    raise RuntimeError(f"The peer {peer.args!r} ended before it said {line!r}.")
