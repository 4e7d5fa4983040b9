"""
The job process as the supervisor holds it: started, watched, killed, replaced.

A job that kills its process is reported once, with signal or exit code; the next process is spawned at once. The first
one is forked when that is safe, before the supervisor has an event loop, a thread or a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.host import link
from mcai_worker_sdk.host.base import HostLimits, JobUsage
from mcai_worker_sdk.host.death import Moment, OutOfMemoryCounter, PeakMemory, describe_death
from mcai_worker_sdk.host.job_process import JOB_PROCESS_NAME, ProcessPlan, run_in_process
from mcai_worker_sdk.host.linked import JobInHand, LinkedHost
from mcai_worker_sdk.host.start_method import choose_start_method
from mcai_worker_sdk.host.supervised_link import SupervisedLink
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol.responses import JobResult, failed_result

__all__ = ["ProcessHost"]

_logger = logging.getLogger(__name__)

#: How long a job process that was told to exit may take before it is killed, in seconds.
EXIT_SECONDS = 5.0


class ProcessHost(LinkedHost):
    """
    Runs user code in a process of its own.

    :meth:`launch` comes first, before the event loop; all else is called from the event loop.

    Args:
        plan: The worker and its surroundings.
        limits: When a process is killed or replaced.
    """

    def __init__(self, plan: ProcessPlan, limits: HostLimits) -> None:
        super().__init__(limits)
        self._plan = plan
        self._process: BaseProcess | None = None
        self._cpu_clock: int | None = None
        self._supervisor_end: socket.socket | None = None
        self._exit_watch: int | None = None
        self._leaving = False
        self._was_ready = False
        self._retired = False
        self._exit_timer: asyncio.TimerHandle | None = None
        self._jobs_done = 0
        self._out_of_memory = OutOfMemoryCounter()
        self._peak_memory = PeakMemory()
        self._ended = asyncio.Event()

    def launch(self) -> None:
        """
        Start the first job process, by fork when that is safe. Called before there is an event loop.

        Raises:
            HostError: The process cannot be started.
        """
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # Set by the worker's script, or inherited: the system would throw the job process's exit status away.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        method, reason = choose_start_method()
        _logger.debug("The job process starts by %s: %s.", method, reason)
        self._start_process(method)

    def attach(self, on_event: Callable[[ev.Event], None]) -> None:
        """Take the launched process over onto the running event loop."""
        self._on_event = on_event
        self._watch_process()

    def _watch_process(self) -> None:
        assert self._supervisor_end is not None
        assert self._process is not None
        assert self._process.pid is not None
        self._link = SupervisedLink(self._supervisor_end, self._take_report)
        # A pidfd tells the end of the process itself; the sentinel of multiprocessing would also wait for every
        # process that user code forked and left behind.
        watched = os.pidfd_open(self._process.pid) if hasattr(os, "pidfd_open") else self._process.sentinel
        self._exit_watch = watched
        asyncio.get_running_loop().add_reader(watched, self._process_ended)

    def kill(self, verdict: JobResult, reason: str) -> None:
        """Kill the job process with all it started; its job ends in ``verdict``."""
        if self._end_waiting_job(verdict) or self._job is None or self._process is None:
            return
        _logger.warning("The job process is killed: %s.", reason, extra={"job_id": self._job.job_id})
        self._job.verdict = verdict
        # Its death may take a while to show; should this job end before, the next one must not go there.
        self._ready = False
        self._kill_process()

    def abandon(self) -> None:
        """Kill the job process at once: it waits for commands, and the interpreter's end would wait for it."""
        if self._process is not None:
            self._kill_process()
            self._process.join()

    async def close(self) -> None:
        """End the job process: ask, wait, kill; at once when a job still runs. Idempotent."""
        self._leaving = True
        self._cancel_timers()
        if self._process is not None and self._link is not None:
            self._link.send(link.Exit())
            patience_seconds = 0.0 if self._job is not None else EXIT_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), patience_seconds)
            self._kill_process()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), EXIT_SECONDS)

    def leave(self, exit_code: int) -> None:
        """Nothing of the job is left."""

    def resident_memory_bytes(self) -> int:
        """Memory that the job process holds, in bytes; 0 when it is gone."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss) if self._process is not None else 0
        except psutil.Error:
            return 0

    # Starting and ending a process

    def _start_process(self, method: str) -> None:
        supervisor_end, job_end = link.socket_pair()
        context: Any = multiprocessing.get_context(method)
        inherited_end = supervisor_end if method == "fork" else None
        arguments = (self._plan, job_end, inherited_end)
        process = context.Process(target=run_in_process, args=arguments, name=JOB_PROCESS_NAME)
        try:
            process.start()
        except Exception as error:
            supervisor_end.close()
            raise HostError(
                f"The job process cannot be started by {method}: {type(error).__name__}: {error}. The worker "
                "travels there by pickle: define its classes at the top of a module, and make in setup(), not in "
                "__init__, what cannot be pickled (locks, open files, sessions)."
            ) from error
        finally:
            job_end.close()
        self._process, self._supervisor_end = process, supervisor_end
        self._cpu_clock = _process_cpu_clock(process.pid)
        self._ready = self._was_ready = self._retired = False
        self._jobs_done = 0

    def _process_ended(self) -> None:
        assert self._process is not None
        assert self._link is not None
        self._link.drain()
        # What user code started and left: the process's number, and so its group's, is free only once it is joined.
        self._kill_group(self._process.pid)
        usage = self.usage()
        self._process.join()
        exit_code = self._process.exitcode or 0
        self._peak_memory.process_ended()
        self._forget_process()
        job = self._job if self._job is not None and self._job.entered else None
        if job is not None and (job.began or job.verdict or self._leaving):
            self._on_job_over(self._result_of_death(job, exit_code, usage))
        else:
            if self._was_ready and not (self._leaving or self._retired):
                _logger.warning("%s A new one is started.", self._death(exit_code, Moment.BETWEEN_JOBS))
            if job is not None:
                self._begin_again(job)
        if self._leaving:
            self._ended.set()
        elif self._was_ready:
            self._respawn()
        else:
            self._ended.set()
            self._on_event(ev.HostFailed(self._death(exit_code, Moment.SETUP)))

    def _respawn(self) -> None:
        try:
            self._start_process("spawn")
        except HostError as error:
            self._ended.set()
            self._on_event(ev.HostFailed(str(error)))
            return
        self._watch_process()

    def _result_of_death(self, job: JobInHand, exit_code: int, usage: JobUsage) -> JobResult:
        result = job.verdict
        if result is None:
            message = self._death(exit_code, Moment.JOB)
            _logger.error("%s", message, extra={"job_id": job.job_id})
            result = failed_result(job.job_id, message)
        return replace(result, execution_duration_seconds=usage.wall_seconds, cpu_time_seconds=usage.cpu_seconds)

    def _death(self, exit_code: int, moment: Moment) -> str:
        return describe_death(
            exit_code,
            moment,
            out_of_memory=self._out_of_memory.raised(),
            peak_memory=self._peak_memory.in_words(),
        )

    def _kill_process(self) -> None:
        if self._process is None or self._process.pid is None:
            return
        started = _programs_started_by(self._process.pid)
        self._kill_group(self._process.pid)
        # The group exists only once the process has made it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        for program in started:
            # Those in a session of their own are in no group of the job's.
            with contextlib.suppress(psutil.Error):
                program.kill()

    @staticmethod
    def _kill_group(pid: int | None) -> None:
        if pid is not None:
            # Where a process that ended counts as forbidden (macOS), or one changed its user, nothing can be done.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def _forget_process(self) -> None:
        assert self._process is not None
        if self._exit_watch is not None:
            asyncio.get_running_loop().remove_reader(self._exit_watch)
            if self._exit_watch != self._process.sentinel:
                os.close(self._exit_watch)
        if self._link is not None:
            self._link.close()
        # A handler of the worker's script for SIGCHLD may have taken the exit status: then it never counts as ended.
        with contextlib.suppress(ValueError):
            self._process.close()
        self._process = self._link = self._exit_watch = self._supervisor_end = self._cpu_clock = None
        self._ready = False
        if self._exit_timer is not None:
            self._exit_timer.cancel()
            self._exit_timer = None

    # Wear and usage

    def _host_ready(self) -> None:
        self._was_ready = True
        super()._host_ready()

    def _setup_failed(self, message: str) -> None:
        self._leaving = True
        super()._setup_failed(message)

    def _job_ended(self, result: JobResult) -> None:
        self._jobs_done += 1
        if self._is_worn_out() and self._link is not None:
            self._ready, self._retired = False, True
            self._link.send(link.Exit())
            # Threads that user code left behind must not keep the old process for ever.
            self._exit_timer = asyncio.get_running_loop().call_later(EXIT_SECONDS, self._kill_process)
        super()._job_ended(result)

    def _is_worn_out(self) -> bool:
        limits = self._limits
        if limits.max_jobs_per_process is not None and self._jobs_done >= limits.max_jobs_per_process:
            _logger.info("The job process is replaced after %d jobs.", self._jobs_done)
            return True
        if limits.max_rss_mb is None:
            return False
        rss_mb = self.resident_memory_bytes() >> 20
        if rss_mb > limits.max_rss_mb:
            _logger.info("The job process is replaced: it holds %d MB.", rss_mb)
            return True
        return False

    def _cpu_seconds(self) -> float:
        if self._cpu_clock is None:
            return 0.0
        try:
            return time.clock_gettime(self._cpu_clock)
        except OSError:
            return 0.0


def _programs_started_by(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _process_cpu_clock(pid: int) -> int | None:
    """The clock of a process's processor time: a microsecond to read, where /proc costs a hundred."""
    clock = ctypes.c_int()
    library = ctypes.CDLL(None)
    if not hasattr(library, "clock_getcpuclockid") or library.clock_getcpuclockid(pid, ctypes.byref(clock)) != 0:
        return None
    return clock.value
