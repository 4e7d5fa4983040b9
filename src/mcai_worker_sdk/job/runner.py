"""
The runner: drives a user's Worker through ``setup`` and its jobs, one at a time.

It is the same in the job process, in a thread and inline; it never touches the broker. Everything a job can fail at
ends here in one :class:`JobResult`: bad parameters, credentials, exceptions, results that cannot be published.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, assert_never

from mcai_worker_sdk.channel import JobStatus, McaiChannel
from mcai_worker_sdk.errors import JobError, WorkerSdkError
from mcai_worker_sdk.job.copies import call_in_copies
from mcai_worker_sdk.job.definition import RunnableWorker, WorkerDefinition
from mcai_worker_sdk.job.failures import captured_output, cut_message, describe_failure
from mcai_worker_sdk.job.results import read_result
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.logs import current_job, get_logger, mask_secret
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import JobResult, JobState, failed_result
from mcai_worker_sdk.services.credentials import CredentialResolver
from mcai_worker_sdk.settings import Settings

__all__ = ["JobRun", "Runner"]

_logger = get_logger(__name__)

#: What the media runner takes from an order even when the parameters class does not declare it.
MEDIA_PARAMETER_IDS = frozenset({"source_path", "destination_path", "batch_size", "sdk_start_index", "sdk_stop_index"})

#: Most bytes of what a failed program wrote that are logged with its job's failure.
LOGGED_OUTPUT_BYTES = 2**14

#: How long a job whose work is done waits for an ``update_process`` that still runs, which may wait for that work.
UPDATE_GRACE_SECONDS = 5.0

_STATE_OF_STATUS = {
    JobStatus.Completed: JobState.COMPLETED,
    JobStatus.Stopped: JobState.STOPPED,
    JobStatus.Error: JobState.ERROR,
}


class JobBody(Protocol):
    """One job's work, in the phases the lifecycle knows. Media jobs and plain jobs each have one."""

    def open(self) -> None:
        """Prepare (``init_process``)."""

    def run(self) -> Any:
        """Work; returns what ``process`` would."""

    def update(self, parameters: Any) -> None:
        """Take new parameters while it runs."""

    def close(self) -> None:
        """Give back what ``open`` took. Idempotent."""


class ProcessBody:
    """The work of a plain worker: its ``process`` method."""

    def __init__(self, worker: RunnableWorker, job_id: int, parameters: object, channel: McaiChannel) -> None:
        self._worker = worker
        self._job_id = job_id
        self._parameters = parameters
        self._channel = channel

    def open(self) -> None:
        """Nothing to prepare: the parameters are checked already."""

    def run(self) -> Any:
        """Call ``process``."""
        return self._worker.process(self._channel, self._parameters, self._job_id)

    def update(self, parameters: Any) -> None:
        """Call the worker's ``update_process`` if it has one. A ``process`` yet to come gets what that took."""
        update = getattr(self._worker, "update_process", None)
        if update is None:
            raise JobError("The worker takes no update: it defines no update_process(parameters) method.")
        update(parameters)
        self._parameters = parameters

    def close(self) -> None:
        """Nothing was taken."""


@dataclass(slots=True)
class JobRun:
    """One job between its first order and its result."""

    job_id: int
    order_parameters: Sequence[OrderParameter]
    channel: McaiChannel
    body: JobBody | None = None
    """Its work while it takes updates: from when its parameters are known until it ends."""
    updating: threading.RLock = field(default_factory=threading.RLock)
    """Held while ``body`` takes an update. Reentrant: inline, one may come from within another."""
    wall_started: float = 0.0
    cpu_started: float = 0.0


class Runner:
    """
    Drives one Worker. A ``StopJob`` or an ``UpdateJob`` may come from another thread; all else from one thread.

    Args:
        definition: The worker.
        settings: Where credential stores and media options are read from.
        report_progression: Called with job id and percents, from any thread; must not block.
    """

    def __init__(
        self, definition: WorkerDefinition, settings: Settings, report_progression: Callable[[int, int], None]
    ) -> None:
        self._definition = definition
        self._settings = settings
        self._report_progression = report_progression
        self._ignored_ids = MEDIA_PARAMETER_IDS if definition.is_media else frozenset()
        self._job: JobRun | None = None
        self._early_stops: set[int] = set()
        # Reentrant: inline, a signal handler may call stop() while this thread holds it.
        self._lock = threading.RLock()
        call_in_copies(self._begin_as_copy)

    def _begin_as_copy(self) -> None:
        """In a process that user code forked: the threads that may have held the locks are not here."""
        self._lock = threading.RLock()
        if self._job is not None:
            self._job.updating = threading.RLock()
            self._job.channel._begin_as_copy()

    @property
    def current_job_id(self) -> int | None:
        """The job in hand, prepared or running."""
        job = self._job
        return None if job is None else job.job_id

    def setup(self) -> None:
        """Call the worker's ``setup``. Whatever it raises passes through."""
        self._definition.worker.setup()

    def obey(self, command: cmd.Command) -> ev.JobEnded | ev.JobInitialised | ev.JobUpdated | None:
        """
        Do what a command says; never raises for what happens in the job.

        A ``StopJob`` and an ``UpdateJob`` are for the job that another call of this method runs meanwhile.

        Returns:
            What came of it; ``None`` after a ``StopJob``, whose answer is the job's own end.
        """
        match command:
            case cmd.RunJob():
                return ev.JobEnded(self._run(command.job_id, command.parameters))
            case cmd.InitialiseJob():
                failure = self._initialise(command.job_id, command.parameters)
                return ev.JobInitialised(command.job_id) if failure is None else ev.JobEnded(failure)
            case cmd.StartJob():
                return ev.JobEnded(self._start(command.job_id, command.parameters))
            case cmd.DiscardJob():
                return ev.JobEnded(self._discard(command.job_id))
            case cmd.UpdateJob():
                return ev.JobUpdated(command.job_id, self._update(command.job_id, command.parameters))
            case cmd.StopJob():
                self._stop(command.job_id)
                return None
            case _:
                assert_never(command)

    def _run(self, job_id: int, parameters: Sequence[OrderParameter]) -> JobResult:
        failure = self._initialise(job_id, parameters)
        return failure if failure is not None else self._run_current()

    def _initialise(self, job_id: int, parameters: Sequence[OrderParameter]) -> JobResult | None:
        """``None`` when the job is ready, its result when it already failed or was stopped."""
        job = self._begin(job_id, parameters)
        try:
            self._open(job, parameters)
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt of user code end its job only
            return self._end(job, self._failure(error))
        if self._definition.is_media and job.channel.is_stopped():
            # It was stopped while it waited for its source: there is nothing to run.
            return self._end(job, JobResult(job_id, JobState.STOPPED))
        return None

    def _start(self, job_id: int, parameters: Sequence[OrderParameter]) -> JobResult:
        job = self._job
        if job is None or job.job_id != job_id:
            return self._run(job_id, parameters)
        current_job.set(job_id)
        if parameters and tuple(parameters) != tuple(job.order_parameters):
            self._close_body(job)
            failure = self._initialise(job_id, parameters)
            if failure is not None:
                return failure
        return self._run_current()

    def _discard(self, job_id: int) -> JobResult:
        job = self._job
        if job is None or job.job_id != job_id:
            return JobResult(job_id, JobState.STOPPED)
        return self._end(job, JobResult(job_id, JobState.STOPPED))

    def expect(self, job_id: int) -> None:
        """An order for the job is on its way here: a stop that came before it was meant for an earlier run."""
        with self._lock:
            self._early_stops.discard(job_id)

    def _stop(self, job_id: int) -> None:
        with self._lock:
            job = self._job
            if job is not None and job.job_id == job_id:
                job.channel._request_stop()
            else:
                self._early_stops.add(job_id)

    def _update(self, job_id: int, parameters: Sequence[OrderParameter]) -> str | None:
        """``None`` when the worker took the parameters, the reason when it did not."""
        try:
            self._hand_over(job_id, parameters)
        except WorkerSdkError as error:
            _logger.warning("The update of the job failed: %s", error, extra={"job_id": job_id})
            return describe_failure(error)
        except BaseException as error:
            _logger.warning("The update of the job failed.", exc_info=error, extra={"job_id": job_id})
            return describe_failure(error)
        return None

    def _hand_over(self, job_id: int, order_parameters: Sequence[OrderParameter]) -> None:
        job = self._job
        if job is None or job.job_id != job_id or job.body is None:
            raise _not_running(job_id)
        parameters, _ = self._build_parameters(order_parameters)
        # That may have taken seconds: the job may be over, and the next one in hand, if only another run of this one.
        with job.updating:
            body = job.body
            if body is None:
                raise _not_running(job_id)
            body.update(parameters)

    def _begin(self, job_id: int, parameters: Sequence[OrderParameter]) -> JobRun:
        current_job.set(job_id)
        job = JobRun(job_id, parameters, McaiChannel(job_id, self._report_progression))
        job.wall_started = time.perf_counter()
        job.cpu_started = _cpu_seconds()
        with self._lock:
            self._job = job
            if job_id in self._early_stops:
                job.channel._request_stop()
            self._early_stops.clear()
        return job

    def _open(self, job: JobRun, order_parameters: Sequence[OrderParameter]) -> None:
        parameters, values = self._build_parameters(order_parameters)
        if self._definition.is_media:
            job.body = self._media_body(job, parameters, values)
        else:
            job.body = ProcessBody(self._definition.worker, job.job_id, parameters, job.channel)
        job.body.open()

    def _media_body(self, job: JobRun, parameters: object, values: dict[str, Any]) -> JobBody:
        # Here, not at the top: PyAV is loaded by the job process of a media worker and by nothing else.
        from mcai_worker_sdk.media.session import MediaSession

        return MediaSession(
            worker=self._definition.worker,
            job_id=job.job_id,
            parameters=parameters,
            values=values,
            channel=job.channel,
            settings=self._settings.media,
        )

    def _build_parameters(self, order_parameters: Sequence[OrderParameter]) -> tuple[object, dict[str, Any]]:
        resolver = CredentialResolver(self._settings, on_secret=mask_secret)
        values = resolver.resolve(order_parameters)
        secret_ids = frozenset(parameter.id for parameter in order_parameters if parameter.store is not None)
        return self._definition.model.build(values, secret_ids=secret_ids, ignored_ids=self._ignored_ids), values

    def _run_current(self) -> JobResult:
        job = self._job
        assert job is not None
        assert job.body is not None
        pid = os.getpid()
        try:
            returned = job.body.run()
            _leave_if_forked(pid, 0)
            result = self._read(job, returned)
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt of user code end its job only
            _leave_if_forked(pid, error.code if isinstance(error, SystemExit) else 1)
            result = replace(self._failure(error), job_id=job.job_id)
        return self._end(job, result)

    def _read(self, job: JobRun, returned: Any) -> JobResult:
        status = job.channel._chosen_status
        if status is None and job.channel._saw_stop:
            status = JobStatus.Stopped
        content = read_result(job.job_id, returned)
        for warning in content.warnings:
            _logger.warning(warning, extra={"job_id": job.job_id})
        if status is JobStatus.Error:
            message = job.channel._chosen_error_message or "No message for this error in worker"
            _logger.error("The job failed: %s", message, extra={"job_id": job.job_id})
            return failed_result(job.job_id, cut_message(message))
        state = JobState.COMPLETED if status is None else _STATE_OF_STATUS[status]
        _warn_of_unused_message(job, f"the job ended as {state}. Call set_job_status(JobStatus.Error) as well")
        return JobResult(job.job_id, state, content.destination_paths, content.parameters)

    def _failure(self, error: BaseException) -> JobResult:
        job = self._job
        assert job is not None
        _warn_of_unused_message(job, "the job ended in an exception, which is published. Raise it with that text")
        if isinstance(error, WorkerSdkError):
            _logger.error("The job failed: %s", error, extra={"job_id": job.job_id})
        else:
            # Of a program that failed, its captured output is nowhere else.
            output = captured_output(error, LOGGED_OUTPUT_BYTES)
            _logger.error("The job failed.%s", output and f"\n{output}", exc_info=error, extra={"job_id": job.job_id})
        return failed_result(job.job_id, describe_failure(error))

    def _end(self, job: JobRun, result: JobResult) -> JobResult:
        job.channel._close()
        self._close_body(job)
        with self._lock:
            self._job = None
        current_job.clear()
        return replace(
            result,
            execution_duration_seconds=time.perf_counter() - job.wall_started,
            cpu_time_seconds=max(0.0, _cpu_seconds() - job.cpu_started),
        )

    def _close_body(self, job: JobRun) -> None:
        # From here on updates are refused.
        body, job.body = job.body, None
        if body is None:
            return
        _await_update(job)
        try:
            body.close()
        except Exception:
            _logger.warning("Closing the job's media failed.", exc_info=True, extra={"job_id": job.job_id})


def _await_update(job: JobRun) -> None:
    """Let an ``update_process`` come to its end before the next job may begin; not for ever."""
    if job.updating.acquire(timeout=UPDATE_GRACE_SECONDS):
        job.updating.release()
        return
    _logger.warning(
        "update_process of the job has not returned for %g s: the job ends without it. Later updates wait for it.",
        UPDATE_GRACE_SECONDS,
        extra={"job_id": job.job_id},
    )


def _warn_of_unused_message(job: JobRun, reason: str) -> None:
    message = job.channel._chosen_error_message
    if message is not None:
        extra = {"job_id": job.job_id}
        _logger.warning("The error message %r is not published: %s.", cut_message(message), reason, extra=extra)


def _not_running(job_id: int) -> JobError:
    return JobError(f"Job {job_id} is not running: the update is refused.")


def _leave_if_forked(pid: int, code: object) -> None:
    """
    End the copy of this process that user code forked and did not end itself.

    It must not speak for the job, nor take the next one; both processes hold the same link.
    """
    if os.getpid() == pid:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF if isinstance(code, int) else code is not None)


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
