"""
The job process's side of the link: user code in the main thread, commands in a thread beside it.

Also run as a thread of the supervisor (``MCAI_ISOLATION=thread``), where nothing of the process may be changed.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcai_worker_sdk.host import link
from mcai_worker_sdk.host.failures import describe_failure
from mcai_worker_sdk.host.job_link import JobLink
from mcai_worker_sdk.host.runner import Runner, WorkerSetup
from mcai_worker_sdk.logs import configure_relay

__all__ = ["JOB_PROCESS_NAME", "ProcessPlan", "run_in_process", "serve"]

_logger = logging.getLogger(__name__)

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
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)
    serve(plan.setup, job_link, on_orphaned=lambda: os._exit(1))
    sys.stdout.flush()
    sys.stderr.flush()


def serve(setup: WorkerSetup, job_link: JobLink, on_orphaned: Callable[[], None]) -> None:
    """
    Call the worker's ``setup``, then do what the supervisor commands until it says ``Exit``.

    Args:
        setup: The worker and what belongs to it.
        job_link: The link to the supervisor.
        on_orphaned: Called when the link ends without an ``Exit``, or a result cannot be sent: nobody would hear it,
            and the broker gives the order to another worker.
    """
    runner = Runner(setup, job_link.send_progression)
    try:
        runner.setup()
    except BaseException as error:
        _logger.exception("setup() of the worker failed.")
        job_link.send(link.SetupFailed(describe_failure(error)))
        job_link.close()
        return
    job_link.send(link.Ready())
    commands: queue.SimpleQueue[link.Command] = queue.SimpleQueue()
    listener = threading.Thread(
        target=_listen, args=(job_link, runner, commands, on_orphaned), name="mcai-link", daemon=True
    )
    listener.start()
    going_on = True
    while going_on:
        going_on = _obey(runner, commands.get(), job_link, on_orphaned)
    job_link.close()


def _listen(
    job_link: JobLink,
    runner: Runner,
    commands: queue.SimpleQueue[link.Command],
    on_orphaned: Callable[[], None],
) -> None:
    exiting = False
    for command in job_link.commands():
        match command:
            case link.Stop():
                runner.stop(command.job_id)
            case link.Update():
                # In a thread of its own: user code may take its time, and a stop must not wait for it.
                threading.Thread(
                    target=_update, args=(job_link, runner, command), name="mcai-update", daemon=True
                ).start()
            case link.Run() | link.Initialise():
                runner.expect(command.job_id)
                commands.put(command)
            case _:
                exiting = isinstance(command, link.Exit)
                commands.put(command)
        # An order may hold megabytes; it is not kept until the next one comes.
        del command
    if not exiting:
        on_orphaned()
        commands.put(link.Exit())


def _update(job_link: JobLink, runner: Runner, command: link.Update) -> None:
    refusal = runner.update(command.job_id, link.order_parameters(command.parameters))
    job_link.send(link.Updated(command.job_id, refusal))


def _obey(runner: Runner, command: link.Command, job_link: JobLink, on_orphaned: Callable[[], None]) -> bool:
    """Do what one command says and report it; False after the last one. Keeps neither order nor result."""
    report: link.Report
    if isinstance(command, link.Run | link.Initialise):
        job_link.send(link.Began(command.job_id))
    match command:
        case link.Run():
            report = link.Ended(runner.run(command.job_id, link.order_parameters(command.parameters)))
        case link.Initialise():
            failure = runner.initialise(command.job_id, link.order_parameters(command.parameters))
            report = link.Initialised(command.job_id) if failure is None else link.Ended(failure)
        case link.Start():
            report = link.Ended(runner.start(command.job_id, link.order_parameters(command.parameters)))
        case link.Discard():
            report = link.Ended(runner.discard(command.job_id))
        case _:
            return False
    if not job_link.send(report):
        # Nobody reads it, or user code closed the link's descriptor; only the end of the process still tells.
        on_orphaned()
    return True


def _die_with_supervisor(supervisor_pid: int) -> None:
    """Have the kernel kill this process with its supervisor, even while user code holds the GIL (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor_pid:
        # It died before the kernel was told.
        os._exit(1)
