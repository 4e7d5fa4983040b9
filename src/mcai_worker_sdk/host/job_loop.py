"""
The other end of the link: user code in the thread that serves, commands in a thread beside it, updates in a third.

The main thread of the job process serves, or a thread of the supervisor (``MCAI_ISOLATION=thread``), where nothing of
the process may be changed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.host.link import messages
from mcai_worker_sdk.host.link.job_end import JobLink
from mcai_worker_sdk.job.definition import WorkerDefinition
from mcai_worker_sdk.job.failures import describe_failure
from mcai_worker_sdk.job.runner import Runner
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.responses import failed_result
from mcai_worker_sdk.settings import Settings

__all__ = ["run_jobs"]

_logger = get_logger(__name__)


def run_jobs(
    definition: WorkerDefinition, settings: Settings, job_link: JobLink, on_orphaned: Callable[[], None]
) -> None:
    """
    Call the worker's ``setup``, then do what the supervisor commands until it says ``Exit``.

    Args:
        definition: The worker.
        settings: Where its jobs' credentials and media options come from.
        job_link: The link to the supervisor; stays open.
        on_orphaned: Called when the link ends without an ``Exit``, or a result cannot be sent: nobody would hear it,
            and the broker gives the order to another worker.
    """
    runner = Runner(definition, settings, job_link.send_progression)
    try:
        runner.setup()
    except BaseException as error:
        _logger.exception("setup() of the worker failed.")
        job_link.send(ev.HostFailed(describe_failure(error)))
        return
    job_link.send(ev.HostReady())
    commands: queue.SimpleQueue[messages.ToJobProcess] = queue.SimpleQueue()
    listener = threading.Thread(
        target=_listen, args=(job_link, runner, commands, on_orphaned), name="mcai-link", daemon=True
    )
    listener.start()
    going_on = True
    while going_on:
        going_on = _obey(runner, commands.get(), job_link, on_orphaned)


def _listen(
    job_link: JobLink,
    runner: Runner,
    commands: queue.SimpleQueue[messages.ToJobProcess],
    on_orphaned: Callable[[], None],
) -> None:
    exiting = False
    updates = _Updates(job_link, runner)
    for command in job_link.commands():
        match command:
            case cmd.StopJob():
                runner.obey(command)
            case cmd.UpdateJob():
                updates.take(command)
            case cmd.RunJob() | cmd.InitialiseJob():
                runner.expect(command.job_id)
                commands.put(command)
            case _:
                exiting = isinstance(command, messages.Exit)
                commands.put(command)
        # An order may hold megabytes; it is not kept until the next one comes.
        del command
    updates.end()
    if not exiting:
        on_orphaned()
        commands.put(messages.Exit())


class _Updates:
    """
    Hands updates to the running job, one after the other as they came.

    In a thread of its own: credentials and user code may take their time, and a stop must not wait for them.
    """

    def __init__(self, job_link: JobLink, runner: Runner) -> None:
        self._job_link = job_link
        self._runner = runner
        self._commands: queue.SimpleQueue[cmd.UpdateJob | None] = queue.SimpleQueue()
        self._is_started = False

    def take(self, command: cmd.UpdateJob) -> None:
        """Hand it over when those before it are done."""
        if not self._is_started:
            self._is_started = True
            threading.Thread(target=self._run, name="mcai-update", daemon=True).start()
        self._commands.put(command)

    def end(self) -> None:
        """No other comes: let the thread end."""
        self._commands.put(None)

    def _run(self) -> None:
        while self._hand_over(self._commands.get()):
            pass

    def _hand_over(self, command: cmd.UpdateJob | None) -> bool:
        """Report what became of one; False after the last. Keeps none of them."""
        if command is None:
            return False
        updated = self._runner.obey(command)
        assert updated is not None
        self._job_link.send(updated)
        return True


def _obey(runner: Runner, command: messages.ToJobProcess, job_link: JobLink, on_orphaned: Callable[[], None]) -> bool:
    """Do what one command says and report it; False after the last one. Keeps neither order nor result."""
    if isinstance(command, messages.Exit):
        return False
    if isinstance(command, cmd.RunJob | cmd.InitialiseJob):
        job_link.send(messages.Began(command.job_id))
    report = runner.obey(command)
    assert report is not None
    if not _send_end(job_link, command.job_id, report):
        # Nobody reads it, or user code closed the link's descriptor; only the end of the process still tells.
        on_orphaned()
    return True


def _send_end(job_link: JobLink, job_id: int, report: messages.Report) -> bool:
    try:
        return job_link.send(report)
    except HostError as error:
        _logger.error("The job failed: %s", error, extra={"job_id": job_id})
        return job_link.send(ev.JobEnded(failed_result(job_id, str(error))))
