"""Children as the supervisor holds them: their end, and the end of all that is in their session."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mcai_worker_sdk.host.process import child as child_module
from mcai_worker_sdk.host.process.child import EndWatch, ForkedProcess, kill_session, kill_with_programs

Start = Callable[..., subprocess.Popen[str]]

#: Says its children's numbers, then waits. ``{}`` makes them.
LEADER = """
import os, subprocess, sys, time
started = []
{}
print(*[process.pid for process in started], flush=True)
time.sleep(600)
"""
SLEEP = "started.append(subprocess.Popen(['sleep', '600']))\n"
IN_A_SESSION_OF_ITS_OWN = "started.append(subprocess.Popen(['sleep', '600'], start_new_session=True))\n"
IN_A_GROUP_OF_ITS_OWN = "started.append(subprocess.Popen(['sleep', '600'], process_group=0))\n"
IGNORES_SIGNALS = "started.append(subprocess.Popen(['sh', '-c', 'trap \"\" TERM INT HUP; sleep 600 & sleep 600']))\n"
#: Named as the resource trackers of multiprocessing and of joblib are; leaves a file when nobody is left.
TRACKER = """
code = "import sys; print(flush=True); sys.stdin.read(); open({freed!r}, 'w') "
code += "# from {module}.resource_tracker import main;main(5)"
started.append(subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
# While it is still to be executed, it has no command line to be known by.
started[-1].stdout.readline()
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a leader of a session, which is killed at the end with what it started."""
    leaders: list[subprocess.Popen[str]] = []

    def run(*makes: str) -> subprocess.Popen[str]:
        leader = subprocess.Popen(
            [sys.executable, "-c", LEADER.format("".join(makes))],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        leaders.append(leader)
        return leader

    yield run
    for leader in leaders:
        with leader:
            for process in psutil.Process(leader.pid).children(recursive=True) if leader.poll() is None else []:
                process.kill()
            leader.kill()


def told(leader: subprocess.Popen[str]) -> list[psutil.Process]:
    assert leader.stdout is not None
    return [psutil.Process(int(pid)) for pid in leader.stdout.readline().split()]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended after a moment."""
    _, left = psutil.wait_procs(processes, timeout=0)
    return [process for process in left if process.status() != psutil.STATUS_ZOMBIE]


def end(leader: subprocess.Popen[str]) -> None:
    """Kill it and leave its corpse: its number is taken."""
    leader.kill()
    os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)


def test_the_session_of_a_process_that_died_is_killed_whatever_its_groups_and_signals(start: Start):
    leader = start(SLEEP, IN_A_GROUP_OF_ITS_OWN, IGNORES_SIGNALS)
    started = told(leader)
    started += [process for one in started for process in one.children(recursive=True)]
    end(leader)

    kill_session(leader.pid)

    assert psutil.wait_procs(started, timeout=10)[1] == []


def test_a_session_of_others_is_left_alone(start: Start):
    dying, other = start(SLEEP), start(SLEEP)
    told(dying)
    others = told(other)
    end(dying)

    kill_session(dying.pid)

    assert alive(others) == others


@pytest.mark.parametrize("module", ["multiprocessing", "joblib.externals.loky.backend", "loky.backend"])
@pytest.mark.parametrize("kill", [kill_with_programs, kill_session])
def test_a_resource_tracker_frees_what_it_tracks_once_nobody_is_left_who_uses_it(
    start: Start, module: str, kill: Callable[[int], None], tmp_path: Path
):
    freed = tmp_path / "freed"
    leader = start(SLEEP, TRACKER.format(freed=str(freed), module=module))
    started = told(leader)
    if kill is kill_session:
        end(leader)

    kill(leader.pid)

    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert freed.exists()


def test_a_living_process_is_killed_with_programs_in_sessions_of_their_own(start: Start):
    leader = start(SLEEP, IN_A_SESSION_OF_ITS_OWN)
    started = told(leader)

    kill_with_programs(leader.pid)

    assert leader.wait() == -signal.SIGKILL
    assert psutil.wait_procs(started, timeout=10)[1] == []


def test_one_that_starts_processes_without_end_is_killed_all_the_same(start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child_module, "ROUNDS", 2)
    spawn = "started.append(subprocess.Popen(['sh', '-c', 'while :; do sleep 600 & sleep 0.01; done']))\n"
    leader = start(spawn)
    (spawning,) = told(leader)
    end(leader)

    kill_session(leader.pid)

    psutil.wait_procs([spawning], timeout=10)
    left = [pid for pid in psutil.pids() if session_of(pid) == leader.pid and alive([psutil.Process(pid)])]
    assert left == []


def session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


@pytest.mark.parametrize("has_pidfd", [True, False], ids=["pidfd", "thread"])
async def test_the_end_of_a_child_is_told_once_and_leaves_its_number_taken(
    start: Start, monkeypatch: pytest.MonkeyPatch, has_pidfd: bool
):
    def refuse(_pid: int) -> int:
        raise OSError(38, "Function not implemented")

    if not has_pidfd:
        monkeypatch.setattr(os, "pidfd_open", refuse)
    leader = start()
    ended: asyncio.Queue[int] = asyncio.Queue()

    def note() -> None:
        watch.close()
        ended.put_nowait(leader.pid)

    watch = EndWatch(leader.pid, note)
    os.kill(leader.pid, signal.SIGKILL)
    await asyncio.wait_for(ended.get(), 30)

    assert psutil.Process(leader.pid).status() == psutil.STATUS_ZOMBIE
    assert leader.wait() == -signal.SIGKILL
    watch.close()
    assert ended.empty()


@pytest.mark.parametrize(("code", "told"), [(0, 0), (3, 3), (-9, -9)])
def test_a_forked_process_says_how_it_ended(code: int, told: int):
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), -code) if code < 0 else os._exit(code)

    assert ForkedProcess(pid).wait() == told


def test_an_exit_status_that_somebody_else_took_is_unknown():
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    os.waitpid(pid, 0)

    assert ForkedProcess(pid).wait() == 0
