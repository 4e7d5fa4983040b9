"""A worker on a terminal (``docker run -t``, ``tty: true``): its jobs run what they like."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import termios
from collections.abc import AsyncIterator

import pytest

from tests.faults.kit import Scene
from tests.support.rabbitmq import eventually
from tests.support.workers import QUEUE, WorkerProcess

RETURN = "\nret = {'destination_paths': [str(result)]}"
SET_ATTRIBUTES = "import termios; termios.tcsetattr({0}, termios.TCSANOW, termios.tcgetattr({0}))"
FFMPEG = ["ffmpeg", "-v", "info", "-f", "lavfi", "-i", "testsrc=duration=1:size=64x64:rate=5", "-f", "null", "-"]
CODES = {
    "ffmpeg": (f"result = subprocess.run({FFMPEG}).returncode", "0"),
    "sets up standard output": (
        f"result = subprocess.run([sys.executable, '-c', {SET_ATTRIBUTES.format(1)!r}]).returncode",
        "0",
    ),
    "sets up standard error": (
        f"result = subprocess.run([sys.executable, '-c', {SET_ATTRIBUTES.format(2)!r}]).returncode",
        "0",
    ),
    "stty": ("result = subprocess.run('stty sane <&2', shell=True).returncode", "0"),
    "reads": ("result = subprocess.run('read line', shell=True).returncode", "1"),
    "reads in Python": ("result = sys.stdin.read()", ""),
    "asks in Python": ("try: input()\nexcept EOFError: result = 'nobody answers'", "nobody answers"),
    "opens the terminal": (
        "try: open('/dev/tty')\nexcept OSError as error: result = error.strerror",
        "No such device or address",
    ),
    "writes": ("print('a line', flush=True)\nresult = subprocess.run('echo a line', shell=True).returncode", "0"),
    "sets up the terminal itself": (SET_ATTRIBUTES.format(1).replace("; ", "\n") + "\nresult = 0", "0"),
}


class Terminal:
    """A terminal that shows what a worker writes to nobody, but keeps it."""

    def __init__(self) -> None:
        self._own, self.descriptor = pty.openpty()
        self.shown = b""
        asyncio.get_running_loop().add_reader(self._own, self._read)

    def press(self, key: bytes) -> None:
        os.write(self._own, key)

    def stop_background_writers(self) -> None:
        """As ``stty tostop`` does."""
        attributes = termios.tcgetattr(self.descriptor)
        attributes[3] |= termios.TOSTOP
        termios.tcsetattr(self.descriptor, termios.TCSANOW, attributes)

    def hang_up(self) -> None:
        """The window is closed, the connection is lost."""
        if self._own >= 0:
            asyncio.get_running_loop().remove_reader(self._own)
            os.close(self._own)
            os.close(self.descriptor)
            self._own = -1

    def _read(self) -> None:
        self.shown += os.read(self._own, 1 << 16)


@pytest.fixture
async def terminal() -> AsyncIterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.hang_up()


@pytest.mark.parametrize(("code", "result"), CODES.values(), ids=CODES)
async def test_what_touches_the_terminal_in_a_job_does_not_stop_it(
    scene: Scene, terminal: Terminal, code: str, result: str
):
    terminal.stop_background_writers()
    async with WorkerProcess(scene.host, terminal=terminal.descriptor) as worker:
        await worker.created(scene.tap)
        # In the first job process, a fork, and in the one that takes its place.
        for job_id, statements in enumerate([code + RETURN, "os._exit(3)", code + RETURN], 1):
            await scene.submit(job_id, statements)
        for job_id in (1, 3):
            assert (await scene.ended(job_id))["body"]["destination_paths"] == [result]
        await scene.leaves_nothing(worker)


async def test_ctrl_c_on_a_terminal_lets_the_job_and_its_programs_finish(scene: Scene, terminal: Terminal):
    async with WorkerProcess(scene.host, terminal=terminal.descriptor) as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1, "\nsubprocess.run(['true'], check=True)")
        terminal.press(b"\x03")
        await eventually(lambda: terminal.shown, lambda shown: b"SIGINT: the worker takes no more jobs" in shown)
        scene.open_gate()

        assert await worker.ended() == 0
    assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)


async def test_a_terminal_that_goes_away_ends_the_worker_in_good_order(scene: Scene, terminal: Terminal):
    async with WorkerProcess(scene.host, terminal=terminal.descriptor) as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        terminal.hang_up()
        # Once the signal that came with it is seen, whatever is sent to the queue is left there.
        await eventually(lambda: consumed_queues(scene), lambda queues: QUEUE not in queues)
        await scene.submit(2)
        scene.open_gate()

        assert await worker.ended() == 0
    assert (scene.ends(1), scene.ends(2)) == (["job_completed"], [])
    assert scene.tap.keys()[-1] == "worker_terminated"


def consumed_queues(scene: Scene) -> set[str]:
    return {consumer["queue"]["name"] for consumer in scene.node.api.consumers(scene.host.name)}


async def test_under_nohup_a_worker_outlives_its_terminal(scene: Scene, terminal: Terminal):
    ignore = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    async with scene.worker_after(ignore, terminal=terminal.descriptor) as worker:
        await worker.created(scene.tap)
        terminal.hang_up()
        await scene.works()
        worker.send_signal(signal.SIGTERM)

        assert await worker.ended() == 0
