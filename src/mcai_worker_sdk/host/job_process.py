"""The job process from its first instruction to its last: a process group of its own that dies with its parent."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import socket
import sys
from dataclasses import dataclass
from typing import Any

from mcai_worker_sdk.host import link
from mcai_worker_sdk.host.base import WorkerSetup
from mcai_worker_sdk.host.job_link import JobLink
from mcai_worker_sdk.logs import configure_relay, mask_secret

__all__ = ["JOB_PROCESS_NAME", "ProcessPlan", "run_in_process"]

#: What :mod:`multiprocessing` calls the job process; by it ``start()`` knows where it is.
JOB_PROCESS_NAME = "mcai-job"

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """What the job process needs to know beside the worker itself."""

    setup: WorkerSetup
    log_level: int
    supervisor_pid: int


def run_in_process(plan: ProcessPlan, job_end: socket.socket, supervisor_end: socket.socket | None) -> None:
    """
    Entry of the job process.

    Args:
        plan: The worker and its surroundings.
        job_end: This process's end of the link.
        supervisor_end: The other end, inherited by a fork: closed here, or the link would never be seen to break.
    """
    if supervisor_end is not None:
        supervisor_end.close()
    _die_with_supervisor(plan.supervisor_pid)
    # A group of its own: Ctrl-C in a terminal reaches the supervisor alone, and a kill reaches ffmpeg too.
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    job_link = JobLink(job_end)
    job_link.share_with_forks()

    def relay(record: dict[str, Any]) -> None:
        job_link.send(link.Log(record))

    configure_relay(plan.log_level, relay)
    # A fork has them from the supervisor, a spawn does not.
    for secret in plan.setup.settings.secrets():
        mask_secret(secret)
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)
    # Here, not at the top: this process loads what only it needs while the supervisor loads the broker's libraries.
    from mcai_worker_sdk.host.serving import serve

    serve(plan.setup, job_link, on_orphaned=lambda: os._exit(1))
    for stream in (sys.stdout, sys.stderr):
        # User code may have closed it.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def _die_with_supervisor(supervisor_pid: int) -> None:
    """Have the kernel kill this process with its supervisor, even while user code holds the GIL (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor_pid:
        # It died before the kernel was told.
        os._exit(1)
