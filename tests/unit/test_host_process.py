"""The job process, for real: forked or run, killed, worn out, crashed, replaced."""

from __future__ import annotations

import array
import dataclasses
import fcntl
import os
import select
import signal
import socket
import termios
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.host.link import frames
from mcai_worker_sdk.host.port import JobUsage
from mcai_worker_sdk.host.process import host as process_module
from mcai_worker_sdk.host.process.host import ProcessHost
from mcai_worker_sdk.host.process.job_process import ProcessPlan
from mcai_worker_sdk.host.process.program import WorkerProgram
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.responses import JobResult, JobState, failed_result
from tests.support.rabbitmq import eventually
from tests.unit.host_kit import CodeWorker, HostDriver, code, drive, program_of, setup_of

Scene = Callable[[HostDriver], Awaitable[None]]
Play = Callable[..., HostDriver]

CRASH = "os.kill(os.getpid(), signal.SIGSEGV)"
WAIT_FOR_STOP = "ch.publish_job_progression(1)\nwhile not ch.is_stopped(): ch._stop_requested.wait(10)"
IGNORE_STOP = "ch.publish_job_progression(1)\nthreading.Event().wait()"
PID = "ret = {'parameters': [{'id': 'pid', 'kind': 'int', 'value': os.getpid()}]}"


@pytest.fixture(params=["fork", "run"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Plays a scene with a host whose first process is started by the given method."""

    def run(
        scene: Scene,
        *,
        setup: str = "",
        start: str = "fork",
        program: WorkerProgram | HostError | None = None,
        **limits: Any,
    ) -> HostDriver:
        monkeypatch.setattr(process_module, "choose_start_method", lambda: (start, "the test says so"))
        return drive(process_host(setup, program or program_of(setup), **limits), scene)

    return run


def process_host(setup: str, program: WorkerProgram | HostError, **limits: Any) -> ProcessHost:
    """Calls the class as it is at that moment: a test may have changed what it is made of."""
    return ProcessHost(ProcessPlan(*setup_of(CodeWorker(setup), **limits), os.getpid()), program)


def pid_of(result: JobResult) -> int:
    (parameter,) = result.parameters
    return int(parameter.value)


def job_process(driver: HostDriver) -> psutil.Process:
    host = driver.host
    assert isinstance(host, ProcessHost)
    assert host._process is not None
    return psutil.Process(host._process.pid)


def bytes_waiting(sock: socket.socket) -> int:
    buffer = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, buffer)
    return buffer[0]


# One job after the other


def test_jobs_run_in_one_process_of_their_own(play: Play, method: str):
    async def scene(driver: HostDriver) -> None:
        await driver.ready()
        for job_id in (1, 2):
            driver.host.command(cmd.RunJob(job_id, code(f"ch.publish_job_progression({job_id})\n{PID}")))
            await driver.ended(job_id)

    driver = play(scene, start=method)

    assert driver.progressions == [1, 2]
    assert [(result.job_id, result.state) for result in driver.results] == [(1, "completed"), (2, "completed")]
    assert pid_of(driver.results[0]) == pid_of(driver.results[1]) != os.getpid()


def test_a_job_that_came_before_setup_was_done_runs_after_it(play: Play):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code("ret = {'destination_paths': [self.model]}")))
        assert driver.host.usage() == JobUsage()
        await driver.ended()

    driver = play(scene, setup="self.model = 'm'")

    assert driver.events[0] == ev.HostReady()
    assert driver.results[0].destination_paths == ("m",)


def test_a_job_is_initialised_started_updated_and_discarded(play: Play):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.InitialiseJob(1, code("raise AssertionError('the old parameters')")))
        await driver.until(lambda: ev.JobInitialised(1) in driver.events)
        driver.host.command(cmd.UpdateJob(1, code("ret = {'destination_paths': ['a']}")))
        driver.host.command(cmd.UpdateJob(1, code("refuse")))
        await driver.until(lambda: sum(isinstance(event, ev.JobUpdated) for event in driver.events) == 2)
        driver.host.command(cmd.StartJob(1, ()))
        await driver.ended()
        driver.host.command(cmd.InitialiseJob(2, code("")))
        await driver.until(lambda: ev.JobInitialised(2) in driver.events)
        driver.host.command(cmd.DiscardJob(2))
        await driver.ended(2)

    driver = play(scene)

    updates = [event.refusal or "" for event in driver.events if isinstance(event, ev.JobUpdated)]
    assert updates[0] == ""
    assert updates[1].startswith("ValueError: not now")
    assert driver.results[0].destination_paths == ("a",)
    assert (driver.results[1].job_id, driver.results[1].state) == (2, JobState.STOPPED)


def test_a_stop_is_seen_by_the_job(play: Play):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code(WAIT_FOR_STOP)))
        await driver.progressed(1)
        driver.host.command(cmd.StopJob(1))
        await driver.ended()

    assert play(scene, stop_grace_seconds=60).results[0].state is JobState.STOPPED


def test_a_late_stop_of_one_run_does_not_stop_the_next_run_of_the_same_job(play: Play):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code("")))
        await driver.ended()
        driver.host.command(cmd.StopJob(1))
        driver.host.command(cmd.RunJob(1, code("ret = {'destination_paths': [str(ch.is_stopped())]}")))
        await driver.ended(2)

    result = play(scene).results[1]

    assert (result.state, result.destination_paths) == (JobState.COMPLETED, ("False",))


# Crashes


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (CRASH, "was killed by signal 11 (SIGSEGV) in the middle of the job, a crash in native code."),
        ("os.kill(os.getpid(), signal.SIGTERM)", "signal 15 (SIGTERM) in the middle of the job, by its own code or by"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by signal 9 (SIGKILL) in the middle of the job: by some"),
        ("os._exit(3)", "ended with exit code 3 in the middle of the job; expected process() to return or raise."),
    ],
)
def test_a_job_that_ends_its_process_is_reported_once_and_the_next_one_runs(play: Play, statement: str, said: str):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(
            cmd.RunJob(1, code(f"import signal, time\nch.publish_job_progression(9)\nsum(range(3000000))\n{statement}"))
        )
        await driver.ended()
        driver.host.command(cmd.RunJob(2, code(PID)))
        await driver.ended(2)

    driver = play(scene)
    crashed, next_one = driver.results

    assert said in (crashed.message or "")
    assert "Peak memory" in (crashed.message or "")
    assert crashed.execution_duration_seconds > 0
    assert crashed.cpu_time_seconds > 0
    assert (next_one.job_id, next_one.state) == (2, JobState.COMPLETED)
    assert driver.progressions == [9]
    assert driver.events.count(ev.HostReady()) == 2


def test_a_process_that_dies_with_a_prepared_job_fails_that_job(play: Play):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.InitialiseJob(1, code("")))
        await driver.until(lambda: ev.JobInitialised(1) in driver.events)
        job_process(driver).kill()
        await driver.ended()
        await driver.ready(2)
        driver.host.command(cmd.RunJob(2, code("")))
        await driver.ended(2)

    failed, next_one = play(scene).results

    assert (failed.job_id, failed.state) == (1, JobState.ERROR)
    assert "SIGKILL" in (failed.message or "")
    assert next_one.state is JobState.COMPLETED


def test_an_idle_process_that_dies_is_replaced_and_no_job_blamed(play: Play, caplog: pytest.LogCaptureFixture):
    async def scene(driver: HostDriver) -> None:
        await driver.ready()
        job_process(driver).kill()
        await driver.ready(2)
        driver.host.command(cmd.RunJob(1, code("")))
        await driver.ended()

    driver = play(scene)

    assert [result.state for result in driver.results] == [JobState.COMPLETED]
    assert "killed by signal 9 (SIGKILL) between two jobs" in caplog.text
    assert "A new one is started." in caplog.text


@pytest.mark.parametrize("told_to_stop", [False, True])
def test_a_job_handed_to_a_process_that_was_dead_by_then_runs_in_the_next_one(play: Play, told_to_stop: bool):
    async def scene(driver: HostDriver) -> None:
        await driver.ready()
        process = job_process(driver)
        process.kill()
        # Dead, and the supervisor's loop has not had its turn to see it.
        select.select([driver.host._end_watch._descriptor], [], [], 30)  # type: ignore[attr-defined]
        driver.host.command(cmd.RunJob(1, code("")))
        if told_to_stop:
            driver.host.command(cmd.StopJob(1))
        await driver.ended()

    (result,) = play(scene, timeout_seconds=30).results

    assert (result.job_id, result.state) == (1, JobState.STOPPED if told_to_stop else JobState.COMPLETED)


def test_what_the_job_reported_before_the_crash_is_heard(play: Play):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(
            cmd.RunJob(1, code(f"import signal\nfor n in range(100): ch.publish_job_progression(n)\n{CRASH}"))
        )
        await driver.ended()

    driver = play(scene)

    assert driver.progressions == list(range(100))
    assert driver.events.index(ev.JobEnded(driver.results[0])) > driver.events.index(ev.ProgressionReported(1, 99))


def test_a_background_process_of_a_crashed_job_does_not_delay_its_report(play: Play, tmp_path: Path):
    pid_file = tmp_path / "pid"
    started = f"""
import signal, subprocess
child = subprocess.Popen(["sleep", "300"])
open({str(pid_file)!r}, "w").write(str(child.pid))
{CRASH}"""

    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code(started)))
        await driver.ended()

    play(scene)

    child = int(pid_file.read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_result_that_is_too_long_for_the_link_is_one_error_and_the_process_lives_on(
    play: Play, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(frames, "LIMIT_BYTES", 10_000)

    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code("ret = {'destination_paths': ['/' + 'x' * 20_000]}")))
        await driver.ended()
        driver.host.command(cmd.RunJob(2, code(PID)))
        await driver.ended(2)

    driver = play(scene)

    assert driver.results[0].state is JobState.ERROR
    assert "has 20" in (driver.results[0].message or "")
    assert "expected at most 10000. Write large data to a file, and return its path." in driver.results[0].message
    assert driver.results[1].state is JobState.COMPLETED
    assert driver.events.count(ev.HostReady()) == 1


# Kills


def test_a_job_past_its_time_out_ends_in_an_error_that_names_the_setting(play: Play):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code(IGNORE_STOP)))
        await driver.ended()
        driver.host.command(cmd.RunJob(2, code("")))
        await driver.ended(2)

    timed_out, next_one = play(scene, timeout_seconds=1.5).results

    assert timed_out.message == "The job ran longer than MCAI_JOB_TIMEOUT_SECONDS (1.5 s) and was killed."
    assert timed_out.execution_duration_seconds >= 1.5
    assert next_one.state is JobState.COMPLETED


def test_a_job_that_ignores_its_stop_order_ends_stopped_after_the_grace(play: Play):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code(IGNORE_STOP)))
        await driver.progressed(1)
        driver.host.command(cmd.StopJob(1))
        await driver.ended()

    (result,) = play(scene, stop_grace_seconds=0.2).results

    assert (result.state, result.message) == (JobState.STOPPED, None)


def test_a_job_that_ended_before_its_kill_keeps_its_result_and_the_next_one_is_not_blamed(play: Play):
    async def scene(driver: HostDriver) -> None:
        await driver.ready()
        driver.on_result = lambda result: driver.host.command(cmd.RunJob(2, code(""))) if result.job_id == 1 else None
        driver.host.command(cmd.RunJob(1, code("ret = {'destination_paths': ['/out']}")))
        sock = driver.host._link._socket  # type: ignore[attr-defined]
        # Until the result lies in the socket, which is much longer than what comes before it; the loop has not had its
        # turn.
        while bytes_waiting(sock) < 200:
            os.sched_yield()
        driver.host.kill(failed_result(1, "killed"), "the test says so")
        await driver.ended(2)

    ended, next_one = play(scene).results

    assert (ended.state, ended.destination_paths) == (JobState.COMPLETED, ("/out",))
    assert (next_one.job_id, next_one.state) == (2, JobState.COMPLETED)


def test_the_time_out_does_not_count_a_prepared_jobs_wait_for_its_start(play: Play):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.InitialiseJob(1, code("")))
        await driver.until(lambda: ev.JobInitialised(1) in driver.events)
        assert driver.host._timers == []  # type: ignore[attr-defined]
        driver.host.command(cmd.StartJob(1, ()))
        await driver.ended()

    assert play(scene, timeout_seconds=30).results[0].state is JobState.COMPLETED


def test_a_kill_without_a_job_kills_nothing(play: Play):
    async def scene(driver: HostDriver) -> None:
        await driver.ready()
        driver.host.kill(failed_result(1, "killed"), "the test says so")
        driver.host.command(cmd.RunJob(2, code(PID)))
        await driver.ended()

    driver = play(scene)

    assert driver.events.count(ev.HostReady()) == 1


# A job that waits for setup


@pytest.mark.parametrize("verdict", ["stop", "kill"])
def test_a_job_that_waits_for_setup_is_ended_without_harm_to_setup(play: Play, tmp_path: Path, verdict: str):
    gate = tmp_path / "gate"
    setup = f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)"

    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code("")))
        if verdict == "stop":
            driver.host.command(cmd.StopJob(1))
        else:
            driver.host.kill(failed_result(1, "The worker was shut down."), "the test says so")
        await driver.ended()
        gate.touch()
        await driver.ready()
        driver.host.command(cmd.RunJob(2, code("")))
        await driver.ended(2)

    first, second = play(scene, setup=setup, stop_grace_seconds=30, timeout_seconds=30).results

    assert first.state is (JobState.STOPPED if verdict == "stop" else JobState.ERROR)
    assert (second.job_id, second.state) == (2, JobState.COMPLETED)


def test_the_time_out_of_a_job_does_not_count_the_setup_it_waits_for(play: Play, tmp_path: Path):
    gate = tmp_path / "gate"
    setup = f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)"

    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code("")))
        assert driver.host._timers == []  # type: ignore[attr-defined]
        gate.touch()
        await driver.ended()

    assert play(scene, setup=setup, timeout_seconds=30).results[0].state is JobState.COMPLETED


# Replacement


def test_a_worn_out_process_is_replaced_while_the_next_job_waits(play: Play):
    async def scene(driver: HostDriver) -> None:
        for job_id in range(1, 5):
            driver.host.command(cmd.RunJob(job_id, code(PID)))
            await driver.ended(job_id)

    driver = play(scene, max_jobs_per_process=2, timeout_seconds=30)
    pids = [pid_of(result) for result in driver.results]

    assert pids[0] == pids[1] != pids[2] == pids[3]
    assert driver.failed is None


def test_a_process_that_grew_too_large_is_replaced(play: Play):
    # A forked job process begins with the memory of the tests that ran before this one.
    limit_mb = psutil.Process().memory_info().rss // 2**20 + 150

    async def scene(driver: HostDriver) -> None:
        for job_id, statement in enumerate(["", "self.hoard = bytearray(300 << 20)\n", ""], start=1):
            driver.host.command(
                cmd.RunJob(
                    job_id,
                    code(
                        f"{statement}self.hoard[::4096] = b'x' * len(self.hoard[::4096])\n{PID}" if statement else PID
                    ),
                )
            )
            await driver.ended(job_id)

    pids = [pid_of(result) for result in play(scene, max_rss_mb_per_process=limit_mb).results]

    assert pids[0] == pids[1] != pids[2]


def test_a_worn_out_process_whose_threads_hold_it_is_killed(play: Play, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process_module, "EXIT_SECONDS", 0.2)

    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code("threading.Thread(target=time.sleep, args=(300,)).start()")))
        await driver.ended()
        driver.host.command(cmd.RunJob(2, code("")))
        await driver.ended(2)

    assert [result.state for result in play(scene, max_jobs_per_process=1).results] == [JobState.COMPLETED] * 2


# What cannot start


def test_a_setup_that_raises_fails_the_host_with_its_words(play: Play, method: str):
    async def scene(driver: HostDriver) -> None:
        message = await driver.failure()
        assert message.startswith("FileNotFoundError: ")
        assert "/no/model" in message

    play(scene, setup="open('/no/model')", start=method)


def test_a_setup_that_ends_the_process_fails_the_host(play: Play):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code("")))
        message = await driver.failure()
        assert "ended with exit code 4 before setup() came to its end; expected setup() to return or raise." in message

    assert play(scene, setup="os._exit(4)").results == []


def test_a_script_that_ends_before_it_comes_to_start_again_fails_the_host(play: Play):
    async def scene(driver: HostDriver) -> None:
        message = await driver.failure()
        assert "ended with exit code 3 before the worker's script came to start() again; expected" in message
        assert "What must happen once only (to take a port, a lock, a file), do in setup()." in message

    assert play(scene, start="run", program=program_of(before="raise SystemExit(3)")).results == []


def test_a_script_that_takes_its_time_to_come_to_start_again_is_told_and_waited_for(
    play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    monkeypatch.setattr(process_module, "ARRIVAL_SECONDS", 0.1)
    gate = tmp_path / "gate"
    wait = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)"

    async def scene(driver: HostDriver) -> None:
        told = "has not come to start() for 0.1 s, and jobs wait for it."
        await eventually(lambda: caplog.text, lambda text: told in text)
        gate.touch()
        driver.host.command(cmd.RunJob(1, code("")))
        await driver.ended()

    assert play(scene, start="run", program=program_of(before=wait)).results[0].state is JobState.COMPLETED
    assert caplog.text.count("has not come to start()") == 1


def test_a_program_that_is_gone_fails_the_host_with_its_name(play: Play):
    gone = dataclasses.replace(program_of(), command=("/no/python", "worker.py"))

    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code("import signal\n" + CRASH)))
        await driver.ended()
        assert "cannot be started: [Errno 2] No such file or directory: '/no/python'" in await driver.failure()

    assert "SIGSEGV" in (play(scene, program=gone).results[0].message or "")


def test_a_worker_that_cannot_be_started_again_says_so_at_once_and_fails_when_its_process_dies(
    play: Play, caplog: pytest.LogCaptureFixture
):
    async def scene(driver: HostDriver) -> None:
        assert "A job process that dies will end the worker, since none can take its place. No script." in caplog.text
        driver.host.command(cmd.RunJob(1, code("import signal\n" + CRASH)))
        await driver.ended()
        assert await driver.failure() == "No script."

    assert "SIGSEGV" in (play(scene, program=HostError("No script.")).results[0].message or "")


def test_a_worker_that_can_neither_be_forked_nor_started_again_cannot_be_launched(play: Play):
    async def scene(_driver: HostDriver) -> None:
        raise AssertionError("nothing was launched")

    with pytest.raises(HostError, match=r"^No script\.$"):
        play(scene, start="run", program=HostError("No script."))


def test_a_fork_that_the_system_refuses_cannot_be_launched(play: Play, monkeypatch: pytest.MonkeyPatch):
    def refuse() -> int:
        raise BlockingIOError(11, os.strerror(11))

    monkeypatch.setattr(os, "fork", refuse)

    with pytest.raises(HostError, match=r"The job process cannot be forked: .*Resource temporarily unavailable"):
        play(None, start="fork")  # type: ignore[arg-type]


# The end


def test_closing_ends_the_process_and_is_idempotent(play: Play):
    processes = []

    async def scene(driver: HostDriver) -> None:
        await driver.ready()
        processes.append(job_process(driver))
        await driver.host.close()
        assert driver.host.resident_memory_bytes() == 0

    driver = play(scene)

    assert not processes[0].is_running()
    assert driver.results == []


def test_closing_does_not_wait_for_a_job(play: Play):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code(IGNORE_STOP)))
        await driver.progressed(1)

    (result,) = play(scene).results

    assert result.state is JobState.ERROR


def test_usage_counts_the_time_of_the_job_in_hand(play: Play):
    async def scene(driver: HostDriver) -> None:
        assert driver.host.usage() == JobUsage()
        driver.host.command(cmd.RunJob(1, code("sum(range(5000000))\n" + IGNORE_STOP)))
        await driver.progressed(1)
        usage = driver.host.usage()
        assert usage.wall_seconds >= usage.cpu_seconds > 0
        assert driver.host.resident_memory_bytes() > 1 << 20

    play(scene)


def test_ctrl_c_in_the_terminal_does_not_reach_the_job_process(play: Play):
    async def scene(driver: HostDriver) -> None:
        driver.host.command(cmd.RunJob(1, code("ret = {'destination_paths': [str(os.getpgrp() == os.getpid())]}")))
        await driver.ended()

    before = signal.getsignal(signal.SIGINT)
    assert play(scene).results[0].destination_paths == ("True",)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("setup", ["", "threading.Event().wait()"], ids=["idle", "in setup"])
def test_a_process_that_no_event_loop_will_take_over_can_be_ended(
    monkeypatch: pytest.MonkeyPatch, setup: str, method: str
):
    monkeypatch.setattr(process_module, "choose_start_method", lambda: (method, "the test says so"))
    host = process_host(setup, program_of(setup))
    host.launch()
    assert host._process is not None

    host.abandon()

    with pytest.raises(ChildProcessError):
        os.waitpid(host._process.pid, 0)
    assert host._supervisor_end is not None
    host._supervisor_end.close()
