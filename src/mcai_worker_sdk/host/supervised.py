"""What every host behind a link shares: commands out, reports in, the time and the usage of the job in hand."""

from __future__ import annotations

import abc
import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from mcai_worker_sdk.host.link import messages
from mcai_worker_sdk.host.link.supervisor_end import SupervisedLink
from mcai_worker_sdk.host.port import JobUsage
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.logs import emit_relayed, get_logger
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.responses import JobResult, JobState, failed_result
from mcai_worker_sdk.settings import JobSettings

__all__ = ["JobInHand", "LinkedHost"]

_logger = get_logger(__name__)

#: Of a failure's text, what is in the line of the job's end, in characters; the failure has a line of its own.
MOST_OF_REASON = 200


@dataclass(slots=True)
class JobInHand:
    """The job the host runs or keeps prepared."""

    job_id: int
    order: cmd.RunJob | cmd.InitialiseJob
    entered: bool = False
    """Whether its order was handed over. Until then it waits for ``setup``, and its time does not count."""
    told_to_stop: bool = False
    began: bool = False
    """Whether its order was taken up there. Until then a death has nothing to do with it."""
    wall_started: float = 0.0
    cpu_started: float = 0.0
    verdict: JobResult | None = None
    """What the job ends in if the supervisor ends it from outside."""


class LinkedHost(abc.ABC):
    """
    Runs user code at the other end of a link. Called from the event loop.

    Commands given before the worker is ready wait for it.

    Args:
        limits: When a job is ended from outside.
    """

    _on_event: Callable[[ev.Event], None]
    """Called with what happens, in order; set where the host is attached."""

    def __init__(self, limits: JobSettings) -> None:
        self._limits = limits
        self._link: SupervisedLink | None = None
        self._ready = False
        self._waiting: list[cmd.Command] = []
        self._job: JobInHand | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def command(self, command: cmd.Command) -> None:
        """Have a command obeyed; a job that goes on past its stop grace is ended from outside."""
        match command:
            case cmd.RunJob() | cmd.InitialiseJob():
                self._begin(command)
            case cmd.StartJob():
                self._start_timeout(command.job_id)
                self._send(command)
            case cmd.StopJob():
                self._stop(command)
            case cmd.DiscardJob() | cmd.UpdateJob():
                self._send(command)
            case _:
                assert_never(command)

    def _stop(self, command: cmd.StopJob) -> None:
        stopped = JobResult(command.job_id, JobState.STOPPED)
        if self._end_waiting_job(stopped):
            return
        if self._job is not None and self._job.job_id == command.job_id:
            self._job.told_to_stop = True
        self._send(command)
        grace = self._limits.stop_grace_seconds
        if grace is not None:
            self._kill_later(grace, command.job_id, stopped, "it went on after its stop order")

    def usage(self) -> JobUsage:
        """What the job in hand used so far."""
        job = self._job
        if job is None or not job.entered:
            return JobUsage()
        # Processor time is read inside the wall's: a job of one thread has not used more than has passed.
        cpu_seconds = max(0.0, self._cpu_seconds() - job.cpu_started)
        return JobUsage(time.monotonic() - job.wall_started, cpu_seconds)

    @abc.abstractmethod
    def kill(self, verdict: JobResult, reason: str) -> None:
        """End the job from outside, whatever it does; it ends in ``verdict``."""

    @abc.abstractmethod
    def _cpu_seconds(self) -> float:
        """User plus system time of where user code runs, in seconds."""

    def _setup_failed(self, message: str) -> None:
        self._on_event(ev.HostFailed(message))

    def _begin(self, order: cmd.RunJob | cmd.InitialiseJob) -> None:
        self._job = JobInHand(order.job_id, order)
        self._send(order)

    def _begin_again(self, job: JobInHand) -> None:
        """Have a job that was handed over, but not taken up, wait for the next ``setup``."""
        if job.told_to_stop:
            self._on_job_over(JobResult(job.job_id, JobState.STOPPED))
            return
        self._cancel_timers()
        self._begin(job.order)

    def _send(self, command: cmd.Command) -> None:
        job = self._job
        if self._ready and self._link is not None:
            if job is not None and not job.entered:
                self._enter(job)
            self._link.send(command)
        elif job is not None and not job.entered:
            self._waiting.append(command)
        # Else the job's process is about to end, and there is nothing more to tell it.

    def _enter(self, job: JobInHand) -> None:
        job.entered = True
        job.wall_started, job.cpu_started = time.monotonic(), self._cpu_seconds()
        self._start_timeout(job.job_id)

    def _end_waiting_job(self, result: JobResult) -> bool:
        """End a job that still waits for ``setup``; False when the job has begun, or there is none."""
        if self._job is None or self._job.entered:
            return False
        self._waiting.clear()
        self._on_job_over(result)
        return True

    def _take_report(self, report: messages.Report) -> None:
        match report:
            case messages.Log():
                emit_relayed(report.record)
            case messages.Began():
                self._job_began(report.job_id)
            case ev.JobEnded():
                self._job_ended(report.result)
            case ev.JobInitialised():
                # The time-out counts work, not the wait for start_process.
                self._cancel_timers()
                self._on_event(report)
            case ev.ProgressionReported() | ev.JobUpdated():
                self._on_event(report)
            case ev.HostReady():
                self._host_ready()
            case ev.HostFailed():
                self._setup_failed(report.message)

    def _host_ready(self) -> None:
        self._ready = True
        waiting, self._waiting = self._waiting, []
        for command in waiting:
            self._send(command)
        self._on_event(ev.HostReady())

    def _job_began(self, job_id: int) -> None:
        if self._job is not None and self._job.job_id == job_id:
            self._job.began = True
            _logger.info("The job begins.", extra={"job_id": job_id})

    def _job_ended(self, result: JobResult) -> None:
        self._on_job_over(result)

    def _on_job_over(self, result: JobResult) -> None:
        self._job = None
        self._cancel_timers()
        _logger.info("%s", _end_in_words(result), extra={"job_id": result.job_id})
        self._on_event(ev.JobEnded(result))

    def _start_timeout(self, job_id: int) -> None:
        timeout = self._limits.timeout_seconds
        if timeout is not None:
            message = f"The job ran longer than MCAI_JOB_TIMEOUT_SECONDS ({timeout:g} s) and was killed."
            self._kill_later(timeout, job_id, failed_result(job_id, message), "it ran past its time-out")

    def _kill_later(self, delay_seconds: float, job_id: int, verdict: JobResult, reason: str) -> None:
        def kill_if_running() -> None:
            if self._job is not None and self._job.job_id == job_id:
                self.kill(verdict, reason)

        self._timers.append(asyncio.get_running_loop().call_later(delay_seconds, kill_if_running))

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def _end_in_words(result: JobResult) -> str:
    """The line of a job's end: status, durations and, where the job's own logging may show nothing, the reason."""
    durations = f"{result.execution_duration_seconds:.3f} s ({result.cpu_time_seconds:.3f} s of processor time)"
    end = f"The job ends: {result.state}, after {durations}."
    reason = (result.message or "").partition("\n")[0]
    if not reason:
        return end
    return f"{end} {reason if len(reason) <= MOST_OF_REASON else reason[:MOST_OF_REASON] + '...'}"
