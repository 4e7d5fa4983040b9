"""``watch``: the workers on a terminal, as they are now; keys stop jobs and pause workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mcai_worker_sdk.cli.broker import Broker
from mcai_worker_sdk.cli.orchestration import with_broker
from mcai_worker_sdk.cli.overview import Overview, WorkerView
from mcai_worker_sdk.errors import ConfigurationError
from mcai_worker_sdk.settings import Settings
from mcai_worker_sdk.versions import check_versions

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

__all__ = ["draw", "watch"]

#: Between two questions how the workers are, and the longest wait for a key, in seconds.
POLL_SECONDS = 2.0
KEY_SECONDS = 0.1
_HELP = "up and down choose a worker   s stops its job   p pauses or resumes it   q ends"
_STYLES = {"Idle": "green", "Busy": "yellow", "Suspended": "magenta", "completed": "green", "error": "red"}
_UP, _DOWN = (b"\x1b[A", b"k"), (b"\x1b[B", b"j")


def watch() -> int:
    """
    Show the workers until ``q`` or Ctrl-C.

    Returns:
        The exit code.

    Raises:
        ConfigurationError: There is no terminal, or rich is of a version that is not supported.
        ExchangeError: The broker cannot be used.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigurationError(
            "The command watch has no terminal; expected one for input and output. Use status or events with --json."
        )
    check_versions("cli")
    return with_broker(_watch)


async def _watch(broker: Broker, _settings: Settings) -> int:
    from rich.live import Live

    overview, chosen = Overview(), 0
    loop = asyncio.get_running_loop()
    next_poll = loop.time()
    with _keys(loop) as keys, Live(draw(overview, chosen), screen=True, auto_refresh=False) as live:
        while True:
            if loop.time() >= next_poll:
                next_poll = loop.time() + POLL_SECONDS
                await broker.send({"type": "status"}, {"broadcast": "true"})
            heard = await broker.next(KEY_SECONDS)
            if heard is not None:
                overview.hear(heard)
            while keys:
                key = keys.popleft()
                if key in {b"q", b"\x03"}:
                    return 0
                chosen = _moved(chosen, key, len(overview.workers))
                await _obey(key, broker, overview, chosen)
            live.update(draw(overview, chosen), refresh=True)


def _moved(chosen: int, key: bytes, count: int) -> int:
    step = -1 if key in _UP else 1 if key in _DOWN else 0
    return max(0, min(chosen + step, count - 1))


async def _obey(key: bytes, broker: Broker, overview: Overview, chosen: int) -> None:
    if key not in {b"s", b"p"} or not overview.workers:
        return
    worker = list(overview.workers.values())[chosen]
    headers = {"instance_id": worker.instance_id}
    if key == b"p":
        kind = "resume_consuming_jobs" if worker.activity == "Suspended" else "stop_consuming_jobs"
        await broker.send({"type": kind}, headers)
    elif worker.job_id is not None:
        await broker.send({"type": "stop_process", "job_id": worker.job_id}, headers)


@contextlib.contextmanager
def _keys(loop: asyncio.AbstractEventLoop) -> Iterator[deque[bytes]]:
    """What is pressed, as it comes; the terminal is put back after."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    pressed: deque[bytes] = deque()
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, lambda: pressed.extend(_parted(os.read(descriptor, 1024))))
    try:
        yield pressed
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _parted(data: bytes) -> Iterator[bytes]:
    """Each key of what was read: an arrow is three bytes."""
    while data:
        length = 3 if data.startswith(b"\x1b[") else 1
        yield data[:length]
        data = data[length:]


def draw(overview: Overview, chosen: int) -> Group:
    """The picture: the workers, the last results, the keys."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    workers = Table("", "instance", "worker", "queue", "activity", "job", "progression", "CPU", "memory", "GPU")
    for number, worker in enumerate(overview.workers.values()):
        workers.add_row(*_cells(worker, is_chosen=number == chosen), style="bold" if number == chosen else "")
    results = Table("job", "ended", "error, or where the results are", expand=True)
    for ended in overview.results:
        job = "?" if ended.job_id is None else str(ended.job_id)
        results.add_row(job, Text(ended.status, _STYLES.get(ended.status, "")), Text(ended.words, overflow="ellipsis"))
    about = "Workers" if overview.workers else "No worker has answered yet."
    return Group(Text(about, "bold"), workers, Text("Last results", "bold"), results, Text(_HELP, "dim"))


def _cells(worker: WorkerView, *, is_chosen: bool) -> list[RenderableType]:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    bar = "" if worker.progression is None else ProgressBar(completed=worker.progression, width=20)
    return [
        ">" if is_chosen else "",
        worker.instance_id[:8],
        Text(f"{worker.name} {worker.version}".strip()),
        Text(worker.queue),
        Text(worker.activity, _STYLES.get(worker.activity, "")),
        "" if worker.job_id is None else str(worker.job_id),
        bar,
        _percent(worker.cpu_percent),
        "" if worker.memory_gb is None else f"{worker.memory_gb:.1f} GB",
        _percent(worker.gpu_percent),
    ]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} %"
