"""The command against a real broker and real workers."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.rabbitmq import VirtualHost
from tests.support.tap import Tap
from tests.support.workers import QUEUE, WorkerProcess, code_order

UNTIL_STOPPED = "while not ch.is_stopped(): time.sleep(0.01)"


@dataclass
class Command:
    """The command in the environment of a worker of one virtual host."""

    host: VirtualHost

    def environment(self, **variables: str) -> dict[str, str]:
        return {
            **os.environ,
            "AMQP_HOSTNAME": "127.0.0.1",
            "AMQP_PORT": str(self.host.port),
            "AMQP_USERNAME": self.host.username,
            "AMQP_PASSWORD": self.host.password,
            "AMQP_VHOST": self.host.name,
            "AMQP_QUEUE": QUEUE,
            **variables,
        }

    async def begin(self, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mcai_worker_sdk.cli",
            *arguments,
            env=self.environment(**variables),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A run that was started in the background of a shell ignores it, and so would what it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    async def run(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        process = await self.begin(*arguments, **variables)
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@dataclass
class Scene:
    command: Command
    tap: Tap
    worker: WorkerProcess
    instance_id: str
    folder: Path

    def order(self, job_id: int, code: str) -> str:
        path = self.folder / f"order-{job_id}.json"
        path.write_text(json.dumps(code_order(job_id, code)))
        return str(path)

    async def runs(self, job_id: int, code: str = UNTIL_STOPPED) -> None:
        """A job that has begun."""
        await self.tap.submit(QUEUE, code_order(job_id, "ch.publish_job_progression(1)\n" + code))
        await self.tap.wait_until(
            lambda: any(
                (message["body"]["job_id"], message["body"]["progression"]) == (job_id, 1)
                for message in self.tap.out("job_progression")
            )
        )


@pytest.fixture
async def scene(vhost: VirtualHost, tmp_path: Path) -> AsyncIterator[Scene]:
    async with Tap(vhost, orders=True) as tap, WorkerProcess(vhost) as worker:
        yield Scene(Command(vhost), tap, worker, await worker.created(tap), tmp_path)


async def test_submit_waits_for_the_result_of_each_order(scene: Scene):
    good = scene.order(1, "ch.publish_job_progression(50)\nret = {'destination_paths': ['/out']}")
    code, out, err = await scene.command.run("submit", good, scene.order(2, "raise ValueError('boom')"))

    assert (code, err) == (1, "")
    first, second = out.splitlines()[0], "\n".join(out.splitlines()[1:])
    assert first == "order-1.json: job 1: completed: /out"
    assert second.startswith("order-2.json: job 2: error: ")
    assert "ValueError: boom" in second


async def test_submit_prints_each_result_as_stepflow_gets_it(scene: Scene):
    code, out, _ = await scene.command.run("submit", "--json", "-p", "code=ret = {}", "--job-id", "5")

    assert code == 0
    (told,) = map(json.loads, out.splitlines())
    (published,) = scene.tap.out("job_completed")
    assert told == published["body"]


async def test_submit_may_leave_the_job_to_itself(scene: Scene):
    code, out, _ = await scene.command.run("submit", "--detach", "--priority", "7", scene.order(3, "ret = {}"))

    assert (code, out) == (0, f"order-3.json: job 3 is in the queue {QUEUE}.\n")
    await scene.tap.wait_for("job_completed")
    (order,) = [message for message in scene.tap.messages if message["exchange"] == "job_submit"]
    assert (order["properties"]["priority"], order["properties"]["delivery_mode"]) == (7, 2)


async def test_ctrl_c_leaves_the_job_and_says_so(scene: Scene):
    process = await scene.command.begin("submit", scene.order(1, "ch.publish_job_progression(1)\n" + UNTIL_STOPPED))
    await scene.tap.wait_for("job_progression", count=2)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()

    assert process.returncode == 130
    assert err.decode() == "mcai-worker: interrupted; what was sent stays sent.\n"
    assert scene.tap.out("job_stopped") == []


async def test_status_pause_and_resume_tell_what_each_worker_does(scene: Scene):
    told = []
    for name in ("status", "pause", "status", "resume"):
        code, out, err = await scene.command.run(name, "--worker", scene.instance_id)
        assert (code, err) == (0, "")
        told.append(out)

    assert [line.split()[:1] + line.split()[-1:] for line in told] == [
        [scene.instance_id, activity] for activity in ("Idle", "Suspended", "Suspended", "Idle")
    ]


async def test_status_of_a_queue_names_the_job_at_hand(scene: Scene):
    await scene.runs(8)
    code, out, _ = await scene.command.run("status", "--queue", QUEUE, "--json", "--wait", "1.5")

    assert code == 0
    (body,) = json.loads(out)
    assert (body["worker"]["activity"], body["job"]["job_id"]) == ("Busy", 8)


async def test_a_status_that_nobody_answers_is_an_error(scene: Scene):
    code, out, err = await scene.command.run("status", "--worker", "nobody", "--wait", "0.5")

    assert (code, out) == (1, "")
    assert err.startswith("mcai-worker: no worker answered status within 0.5 s.")


async def test_stop_ends_the_job_wherever_it_runs(scene: Scene):
    await scene.runs(8)

    assert await scene.command.run("stop", "8") == (0, "job 8: stopped\n", "")
    code, _, err = await scene.command.run("stop", "9", "--wait", "0.5")
    assert (code, err.partition(".")[0]) == (1, "mcai-worker: no worker answered about job 9 within 0")


async def test_a_job_is_prepared_and_started_later(scene: Scene):
    to = ("--worker", scene.instance_id)
    assert await scene.command.run("init", "4", *to, "-p", "code=ret = {}") == (0, "job 4: ready_to_start\n", "")
    code, out, _ = await scene.command.run("start", "4", *to)

    assert (code, out.partition(":")[0]) == (0, "job 4")
    await scene.tap.wait_for("job_completed")


async def test_an_update_that_is_refused_is_an_error_with_its_reason(scene: Scene):
    await scene.runs(8)
    code, out, _ = await scene.command.run("update", "8", "-p", "code=x")

    assert code == 1
    assert "it defines no update_process" in out


async def test_the_black_list_is_changed_and_shown(scene: Scene):
    to = ("--worker", scene.instance_id)
    assert (await scene.command.run("black-list", "add", "42", *to))[0] == 0
    assert (await scene.command.run("black-list", "show", *to))[1].endswith("black list: 42\n")
    assert (await scene.command.run("black-list", "remove", "42", *to))[0] == 0
    code, out, _ = await scene.command.run("black-list", "show", "--json", *to)

    assert code == 0
    assert [body["black_list"]["job_ids"] for body in json.loads(out)] == [[]]


async def test_events_are_printed_as_they_come(scene: Scene):
    process = await scene.command.begin("events", "--json", "--count", "2")
    assert process.stdout is not None
    received: list[dict[str, Any]] = []
    job_id = 0
    while len(received) < 2:
        # The command says nothing when it listens: orders go out until the first is heard.
        job_id += 1
        await scene.tap.submit(QUEUE, code_order(job_id, "ret = {}"))
        await scene.tap.wait_for("job_completed", count=job_id)
        try:
            async with asyncio.timeout(0.2):
                received.append(json.loads(await process.stdout.readline()))
        except TimeoutError:
            continue

    assert await process.wait() == 0
    assert {event["routing_key"] for event in received} <= {"job_progression", "job_completed"}


class Screen:
    """A terminal on which ``watch`` draws."""

    def __init__(self) -> None:
        self._own, self.descriptor = pty.openpty()
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
        self._shown = ""
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._own, self._read)

    def press(self, key: bytes) -> None:
        """Press a key; what was shown before is forgotten."""
        self._shown = ""
        os.write(self._own, key)

    async def shows(self, word: str) -> None:
        """Wait until the picture has a word."""
        async with asyncio.timeout(30):
            while word not in self._shown:
                self._changed.clear()
                await self._changed.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._own)
        os.close(self._own)
        os.close(self.descriptor)

    def _read(self) -> None:
        self._shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(self._own, 1 << 16).decode(errors="replace"))
        self._changed.set()


async def test_watch_shows_the_workers_and_obeys_its_keys(scene: Scene):
    screen = Screen()
    watching = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mcai_worker_sdk.cli",
        "watch",
        env=scene.command.environment(TERM="xterm"),
        stdin=screen.descriptor,
        stdout=screen.descriptor,
        stderr=screen.descriptor,
    )
    try:
        await screen.shows(scene.instance_id[:8])
        await screen.shows("Idle")
        await scene.runs(8)
        await screen.shows("Busy")
        screen.press(b"s")
        await scene.tap.wait_for("job_stopped")
        await screen.shows("stopped")
        screen.press(b"p")
        await screen.shows("Suspended")
        screen.press(b"p")
        await screen.shows("Idle")
        screen.press(b"q")

        assert await watching.wait() == 0
    finally:
        if watching.returncode is None:
            watching.kill()
        screen.close()


async def test_watch_without_a_terminal_says_what_to_use(scene: Scene):
    code, _, err = await scene.command.run("watch")

    assert (code, err.count("\n")) == (1, 1)
    assert "Use status or events with --json." in err


async def test_an_order_for_a_queue_that_is_not_there_is_refused(vhost: VirtualHost):
    code, _, err = await Command(vhost).run("submit", "-p", "code=ret = {}", "--queue", "job_nowhere")

    assert code == 1
    assert "The queue 'job_nowhere' does not exist in the virtual host" in err


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"AMQP_PORT": "many"}, "The environment variable AMQP_PORT is 'many'"),
        ({"AMQP_PORT": "9"}, "refuses connections: nothing listens there. Check AMQP_HOSTNAME and AMQP_PORT."),
        ({"AMQP_PASSWORD": "wrong"}, "Check AMQP_USERNAME and AMQP_PASSWORD."),
        ({"AMQP_VHOST": "nowhere"}, "Check AMQP_VHOST"),
    ],
    ids=lambda value: next(iter(value.items()))[0] if isinstance(value, dict) else "",
)
async def test_a_wrong_variable_is_named_in_one_line(vhost: VirtualHost, variables: dict[str, str], told: str):
    code, out, err = await Command(vhost).run("status", **variables)

    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("mcai-worker: ")
    assert told in line
