"""The hosts without a process of their own (inline, thread), and how a process is started."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mcai_worker_sdk.host.inline import InlineHost
from mcai_worker_sdk.host.port import JobUsage
from mcai_worker_sdk.host.process import start_method
from mcai_worker_sdk.host.process.start_method import choose_start_method
from mcai_worker_sdk.host.thread import ThreadHost
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.responses import JobState, failed_result
from tests.unit.host_kit import CodeWorker, HostDriver, code, drive, setup_of

# Inline


@pytest.fixture
def inline() -> HostDriver:
    driver = HostDriver()
    driver.host = InlineHost(*setup_of(CodeWorker("self.model = 'm'")))
    driver.host.launch()
    driver.host.attach(driver.on_event)
    return driver


def test_inline_a_job_runs_before_the_call_returns_in_the_same_thread(inline: HostDriver):
    inline.host.command(
        cmd.RunJob(1, code(f"assert threading.get_ident() == {threading.get_ident()}\nch.publish_job_progression(5)"))
    )

    assert [type(event) for event in inline.events] == [ev.HostReady, ev.ProgressionReported, ev.JobEnded]
    assert inline.results[0].state is JobState.COMPLETED


def test_inline_a_job_may_be_stopped_from_within_and_by_a_kill(inline: HostDriver):
    for job_id, end in enumerate(
        (lambda job: inline.host.command(cmd.StopJob(job)), lambda job: inline.host.kill(failed_result(job, "x"), "x")),
        1,
    ):
        inline.host._runner._definition.worker.end = end  # type: ignore[attr-defined]
        inline.host.command(cmd.RunJob(job_id, code("self.end(job_id)\nassert ch.is_stopped()")))

    assert [result.state for result in inline.results] == [JobState.STOPPED] * 2


def test_inline_a_prepared_job_is_started_updated_or_discarded(inline: HostDriver):
    inline.host.command(cmd.InitialiseJob(1, code("raise AssertionError('the old parameters')")))
    inline.host.command(cmd.UpdateJob(1, code("ret = {'destination_paths': ['new']}")))
    inline.host.command(cmd.StartJob(1, ()))
    inline.host.command(cmd.InitialiseJob(2, code("")))
    inline.host.command(cmd.DiscardJob(2))
    inline.host.command(cmd.InitialiseJob(3, ()))

    assert inline.events[1:3] == [ev.JobInitialised(1), ev.JobUpdated(1, None)]
    assert [(result.job_id, result.state) for result in inline.results] == [(1, "completed"), (2, "stopped")]
    assert inline.results[0].destination_paths == ("new",)


def test_inline_a_setup_that_raises_fails_the_host():
    driver = HostDriver()
    driver.host = InlineHost(*setup_of(CodeWorker("raise SystemExit('no licence')")))
    driver.host.attach(driver.on_event)

    assert (driver.failed or "").startswith("SystemExit: no licence")


async def test_inline_usage_memory_and_close(inline: HostDriver):
    inline.host.command(cmd.RunJob(1, code("")))
    await inline.host.close()

    assert inline.host.usage().wall_seconds > 0
    assert inline.host.resident_memory_bytes() > 1 << 20


# Thread


def thread_host(worker: CodeWorker, **limits: float) -> ThreadHost:
    return ThreadHost(*setup_of(worker, **limits))


def test_a_thread_runs_jobs_and_hears_stops():
    async def scene(driver: HostDriver) -> None:
        await driver.ready()
        driver.host.command(
            cmd.RunJob(1, code("ret = {'destination_paths': [threading.current_thread().name, str(os.getpid())]}"))
        )
        await driver.ended()
        assert driver.host.usage() == JobUsage()
        driver.host.command(
            cmd.RunJob(2, code("ch.publish_job_progression(1)\nch._stop_requested.wait(30)\nch.is_stopped()"))
        )
        await driver.progressed(1)
        driver.host.command(cmd.StopJob(2))
        await driver.ended(2)
        assert driver.host.resident_memory_bytes() > 1 << 20

    first, second = drive(thread_host(CodeWorker()), scene).results

    assert first.destination_paths == ("mcai-job", str(os.getpid()))
    assert second.state is JobState.STOPPED


def test_a_thread_that_should_be_killed_is_told_to_stop_and_reported_as_what_it_was_killed_for(
    caplog: pytest.LogCaptureFixture,
):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code("while not ch._stop_requested.wait(30): pass\nch.is_stopped()")))
        await driver.ended()

    (result,) = drive(thread_host(CodeWorker(), timeout_seconds=0.1), scene).results

    assert result.state is JobState.ERROR
    assert "MCAI_JOB_TIMEOUT_SECONDS (0.1 s)" in (result.message or "")
    assert result.execution_duration_seconds > 0
    assert "MCAI_ISOLATION=thread cannot: it is told to stop." in caplog.text


WRITE_INTO_EVERY_LINK = """
import socket
for name in os.listdir('/proc/self/fd'):
    try:
        with socket.socket(fileno=os.dup(int(name))) as sock:
            if sock.type is socket.SOCK_SEQPACKET:
                sock.send(b'a line that somebody printed')
    except OSError:
        pass
self.released.wait()
"""


def test_a_thread_whose_link_cannot_be_read_fails_its_job_and_the_host():
    worker = CodeWorker()
    worker.released = threading.Event()  # type: ignore[attr-defined]

    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code(WRITE_INTO_EVERY_LINK)))
        await driver.ended()
        assert "The job link brought b'a line that somebody printed'" in await driver.failure()
        worker.released.set()  # type: ignore[attr-defined]

    (result,) = drive(thread_host(worker), scene).results

    assert result.state is JobState.ERROR
    assert "The job link brought b'a line that somebody printed'" in (result.message or "")


def test_a_job_that_waits_for_setup_is_ended_by_a_kill_in_a_thread_too():
    gate = threading.Event()
    worker = CodeWorker("self.gate.wait(30)")
    worker.gate = gate  # type: ignore[attr-defined]

    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code("")))
        driver.host.kill(failed_result(1, "The worker was shut down."), "the test says so")
        await driver.ended()
        gate.set()
        await driver.ready()

    assert drive(thread_host(worker), scene).results[0].message == "The worker was shut down."


def test_a_setup_that_raises_in_a_thread_fails_the_host():
    async def scene(driver: HostDriver) -> None:
        assert (await driver.failure()).startswith("ValueError: no model")

    drive(thread_host(CodeWorker("raise ValueError('no model')")), scene)


# The start method


@pytest.fixture
def process_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "task" / "1").mkdir(parents=True)
    (tmp_path / "fd").mkdir()
    monkeypatch.setattr(start_method, "_PROCESS", tmp_path)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    return tmp_path


def test_a_process_without_threads_and_gpu_is_forked(process_files: Path):
    (process_files / "fd" / "0").symlink_to("/dev/null")
    (process_files / "fd" / "1").touch()

    assert choose_start_method() == ("fork", "no threads, no GPU")


def test_a_thread_of_a_library_asks_for_a_program_of_its_own(process_files: Path):
    (process_files / "task" / "2").mkdir()

    assert choose_start_method() == ("run", "the worker's script started threads")


def test_a_thread_of_python_asks_for_a_program_of_its_own(process_files: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threading, "active_count", lambda: 2)

    assert choose_start_method() == ("run", "the worker's script started threads")


def test_an_open_gpu_asks_for_a_program_of_its_own(process_files: Path):
    (process_files / "fd" / "7").symlink_to("/dev/nvidia0")

    assert choose_start_method() == ("run", "the worker's script opened a GPU")


def test_other_systems_ask_for_spawn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(start_method.sys, "platform", "darwin")

    assert choose_start_method() == ("run", "fork is not safe on darwin")
