"""What the fault tests share: one worker's scene on a virtual host, with all that proves what became of an order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Literal

import psutil

from tests.support.proxy import TcpProxy
from tests.support.rabbitmq import RabbitMqNode, VirtualHost, eventually
from tests.support.tap import Tap
from tests.support.workers import FOLDER, QUEUE, WorkerProcess, code_order

__all__ = ["TERMINAL", "CuttingProxy", "Scene", "gone", "http", "parameter", "text_of"]

TERMINAL = ("job_completed", "job_error", "job_stopped")
#: Until the test touches the file ``gate``: the job runs as long as the test wants it to.
WAIT_FOR_GATE = "\nwhile not os.path.exists({gate!r}): time.sleep(0.02)\n"


def parameter(name: str, value: Any, kind: str = "string") -> dict[str, Any]:
    """One parameter of an order."""
    return {"id": name, "type": kind, "value": value}


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a ``job_error``: of a known job its one parameter ``message``."""
    body = message["body"]
    if "job_id" not in body:
        return str(body["message"])
    (only,) = body["parameters"]
    assert only["id"] == "message"
    return str(only["value"])


class Scene:
    """
    A virtual host, a tap on it, and files in which the jobs' code leaves its marks.

    ``tap`` speaks to the broker itself, past any proxy that stands before the worker.
    """

    def __init__(self, node: RabbitMqNode, host: VirtualHost, tap: Tap, folder: Path) -> None:
        self.node = node
        self.host = host
        self.tap = tap
        self.folder = folder
        self._gate = folder / "gate"
        self._runs = folder / "runs"
        self._runs.touch()

    def worker(self, *, port: int | None = None, **environment: str) -> WorkerProcess:
        """A worker on this virtual host, by way of ``port`` when a proxy stands there."""
        if port is not None:
            environment["AMQP_PORT"] = str(port)
        return WorkerProcess(self.host, environment=environment)

    def worker_after(
        self, prologue: str, *, is_guarded: bool = True, terminal: int | None = None, **environment: str
    ) -> WorkerProcess:
        """The usual worker, its script beginning with other lines."""
        text = prologue + (FOLDER / "worker.py").read_text()
        if not is_guarded:
            before, _, start = text.partition('if __name__ == "__main__":\n')
            text = before + start.strip() + "\n"
        script = self.folder / "worker.py"
        script.write_text(text)
        return WorkerProcess(self.host, script=str(script), terminal=terminal, environment=environment)

    async def submit(self, job_id: int, code: str = "", *, parameters: tuple[Any, ...] = (), **order: Any) -> None:
        """Send an order whose code first leaves a mark: each run of ``process`` is one line."""
        message = code_order(job_id, self.marked(code), **order)
        message["parameters"] += parameters
        await self.tap.submit(QUEUE, message)

    async def submit_gated(self, job_id: int, code: str = "") -> None:
        """Send an order whose job runs until :meth:`open_gate`, and wait until it does."""
        await self.submit(job_id, WAIT_FOR_GATE.format(gate=str(self._gate)) + code)
        await self.running(job_id)

    def marked(self, code: str) -> str:
        """The code, with the mark of its run before it."""
        return f"with open({str(self._runs)!r}, 'a') as runs: runs.write(f'{{job_id}}\\n')\n{code}"

    def open_gate(self) -> None:
        """Let the gated job go on."""
        self._gate.touch()

    async def running(self, job_id: int, count: int = 1) -> None:
        """Wait until the job's code has been called this many times."""
        await eventually(lambda: self.runs(job_id), lambda runs: runs >= count)

    def runs(self, job_id: int) -> int:
        """How often the job's code was called."""
        return self._runs.read_text().split().count(str(job_id))

    def ends(self, job_id: int) -> list[str]:
        """Routing keys of the job's terminal messages."""
        return [m["routing_key"] for m in self.tap.out(*TERMINAL) if m["body"].get("job_id") == job_id]

    async def ended(self, job_id: int, *, timeout_seconds: float = 30.0) -> dict[str, Any]:
        """Wait for the job's first terminal message."""
        await self.tap.wait_until(lambda: bool(self.ends(job_id)), timeout_seconds)
        return next(m for m in self.tap.out(*TERMINAL) if m["body"].get("job_id") == job_id)

    async def works(self, job_id: int = 99) -> None:
        """A fresh order is run and completed, and status is answered."""
        await self.submit(job_id)
        await self.ended(job_id)
        assert self.ends(job_id) == ["job_completed"]
        await self.status()

    async def status(self) -> dict[str, Any]:
        """Ask for the status, as StepFlow does; the answer's body."""
        answered = len(self.tap.out("worker_status"))
        await self.tap.direct({"type": "status"})
        body: dict[str, Any] = (await self.tap.wait_for("worker_status", count=answered + 1))[-1]["body"]
        return body

    async def status_seconds(self) -> float:
        """How long the answer to ``status`` takes."""
        asked = time.monotonic()
        await self.status()
        return time.monotonic() - asked

    async def leaves_nothing(self, worker: WorkerProcess, number: signal.Signals = signal.SIGTERM) -> None:
        """The worker ends in good order, and no order is left: each was settled. A live worker's would be unacked."""
        worker.send_signal(number)
        assert await worker.ended() == 0
        assert self.orders_left() == []

    def orders_left(self) -> list[dict[str, Any]]:
        """Take what is in the job queue and in the delay queue; exact once the worker's connection is closed."""
        queues = {queue["name"] for queue in self.node.api.queues(self.host.name)}
        return [
            json.loads(message["payload"])
            for queue in (QUEUE, "job_delayed")
            if queue in queues
            for message in self.node.api.get(self.host.name, queue)
        ]

    async def connections(self, worker_name: str = "my_python_worker") -> list[dict[str, Any]]:
        """The worker's connections, once the management API knows of one."""

        def read() -> list[dict[str, Any]]:
            found = self.node.api.connections(self.host.name)
            return [one for one in found if str(one.get("user_provided_name", "")).startswith(worker_name)]

        return await eventually(read, bool)

    @contextlib.asynccontextmanager
    async def beside(self, name: str) -> AsyncIterator[Scene]:
        """Another scene on the same broker: one outage is enough for several workers."""
        folder = self.folder / name
        folder.mkdir()
        with self.node.vhost() as host:
            async with Tap(host) as tap:
                yield Scene(self.node, host, tap, folder)

    async def restart_broker(self) -> None:
        """Stop the node in good order and start it again."""
        await asyncio.to_thread(self.node.restart)


def http(port: int, path: str) -> tuple[int, bytes]:
    """Ask the worker's endpoint: status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


async def gone(process: psutil.Process, *, timeout_seconds: float = 10.0) -> None:
    """Wait until a process has ended."""
    await eventually(lambda: _is_alive(process), lambda alive: not alive, timeout_seconds=timeout_seconds)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


#: Class 60, method 80: what the worker sends for an order and the broker for a published message.
BASIC_ACK = b"\x00\x3c\x00\x50"


class CuttingProxy(TcpProxy):
    """Cuts every connection, once, in the instant an acknowledgement passes; what it was in is not forwarded."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self._armed: str | None = None
        self.has_cut = asyncio.Event()

    def cut_at_acknowledgement(self, sender: Literal["worker", "broker"]) -> None:
        """Wait for the next ``basic.ack`` that this side sends."""
        self._armed = sender

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, both: tuple[asyncio.StreamWriter, ...]
    ) -> None:
        sender = "worker" if sink is both[1] else "broker"
        read = source.read

        async def watched(size: int = -1) -> bytes:
            data = await read(size)
            if self._armed == sender and BASIC_ACK in data:
                self._armed = None
                self.cut_once()
                self.has_cut.set()
                return b""
            return data

        source.read = watched  # type: ignore[method-assign]
        await super()._pump(source, sink, both)
