"""The job process from its first instruction to its last: a session of its own that dies with its parent."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from typing import Any, NoReturn

from mcai_worker_sdk.host.link import messages
from mcai_worker_sdk.host.link.job_end import JobLink
from mcai_worker_sdk.host.process.ending import Ending, flush_before_fork, forget_parent
from mcai_worker_sdk.job.definition import WorkerDefinition
from mcai_worker_sdk.logs import configure_relay, mask_secret
from mcai_worker_sdk.settings import Settings

__all__ = ["ProcessPlan", "fork_job_process", "run_job_process"]

_PR_SET_PDEATHSIG = 1
_STANDARD_ERROR = 2


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """What the job process needs to know."""

    definition: WorkerDefinition
    settings: Settings
    supervisor_pid: int


def fork_job_process(plan: ProcessPlan, job_end: socket.socket, supervisor_end: socket.socket) -> int:
    """
    Fork the job process off this one. Returns in this one only.

    Args:
        plan: The worker and its surroundings.
        job_end: The job process's end of the link.
        supervisor_end: The other end: closed in the job process, or the link would never be seen to break.

    Returns:
        The job process's number.
    """
    flush_before_fork()
    pid = os.fork()
    if pid != 0:
        return pid
    # Nothing may get from here to the script's own frames: they are the supervisor's to end.
    try:
        supervisor_end.close()
        os.setsid()
        forget_parent()
        run_job_process(plan, job_end, is_fork=True)
    except BaseException:  # noqa: BLE001 - whatever it is, the process ends by it
        traceback.print_exc()
    finally:
        os._exit(1)


def run_job_process(plan: ProcessPlan, job_end: socket.socket, *, is_fork: bool) -> NoReturn:
    """
    Be the job process until the supervisor says otherwise, and end.

    Args:
        plan: The worker and its surroundings.
        job_end: This process's end of the link.
        is_fork: Whether this process is a fork of the supervisor, and no program of its own.
    """
    ending = Ending(plan.definition.worker, is_fork=is_fork)
    _die_with_supervisor(plan.supervisor_pid)
    _read_nothing()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    job_link = JobLink(job_end)
    job_link.send(messages.Arrived())

    def relay(record: dict[str, Any]) -> None:
        job_link.send(messages.Log(record))

    configure_relay(plan.settings.log.level, relay)
    for secret in plan.settings.secrets():
        mask_secret(secret)
    faulthandler.enable(_STANDARD_ERROR)
    # Here, not at the top: this process loads what only it needs while the supervisor loads the broker's libraries.
    from mcai_worker_sdk.host.job_loop import run_jobs

    run_jobs(plan.definition, plan.settings, job_link, on_orphaned=lambda: os._exit(1))
    # The link stays open to the last: what is logged at the end is relayed too.
    ending.end(0)


def _die_with_supervisor(supervisor_pid: int) -> None:
    """Have the kernel kill this process with its supervisor, even while user code holds the GIL (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor_pid:
        # It died before the kernel was told.
        os._exit(1)


def _read_nothing() -> None:
    """
    Take the standard input away: it is the supervisor's.

    A program that finds a terminal there sets it up, and reads keys from it; outside the foreground, it is stopped.
    """
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if sys.stdin is not None:
        # The old object may hold what it has read ahead.
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - a descriptor; open to the end
