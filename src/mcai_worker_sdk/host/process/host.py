"""
The job process as the supervisor holds it: started, watched, killed, replaced.

A job that kills its process is reported once, with signal or exit code; the next process is started at once. The first
one is forked when that is safe, before the supervisor has an event loop, a thread or a connection. Every other one is
the worker's command line, run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import psutil

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.host.link import messages
from mcai_worker_sdk.host.link.supervisor_end import SupervisedLink
from mcai_worker_sdk.host.port import JobUsage
from mcai_worker_sdk.host.process.child import ChildProcess, EndWatch, ForkedProcess, kill_session, kill_with_programs
from mcai_worker_sdk.host.process.death import Moment, OutOfMemoryCounter, PeakMemory, describe_death
from mcai_worker_sdk.host.process.job_process import ProcessPlan, fork_job_process
from mcai_worker_sdk.host.process.program import WorkerProgram
from mcai_worker_sdk.host.process.start_method import choose_start_method
from mcai_worker_sdk.host.supervised import JobInHand, LinkedHost
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol.responses import JobResult, failed_result

__all__ = ["ProcessHost"]

_logger = get_logger(__name__)

#: How long a job process that was told to exit may take before it is killed, in seconds.
EXIT_SECONDS = 5.0
#: How long the worker's script, run again, may take to come to ``start()`` before that is told, in seconds.
ARRIVAL_SECONDS = 60.0


class ProcessHost(LinkedHost):
    """
    Runs user code in a process of its own.

    :meth:`launch` comes first, before the event loop; all else is called from the event loop.

    Args:
        plan: The worker and its surroundings.
        program: What is run where a process cannot be forked, or why there is no such thing.
    """

    def __init__(self, plan: ProcessPlan, program: WorkerProgram | HostError) -> None:
        super().__init__(plan.settings.job)
        self._plan = plan
        self._program = program
        self._process: ChildProcess | None = None
        self._cpu_clock: int | None = None
        self._supervisor_end: socket.socket | None = None
        self._end_watch: EndWatch | None = None
        self._leaving = False
        self._arrived = False
        """Whether the process came to ``start()``, as a fork has from the first."""
        self._was_ready = False
        self._retired = False
        self._timer_of_process: asyncio.TimerHandle | None = None
        """Until the process has arrived, then until it has exited."""
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
        if method == "fork" and isinstance(self._program, HostError):
            _logger.warning(
                "A job process that dies will end the worker, since none can take its place. %s", self._program
            )
        self._start_process(method)

    def attach(self, on_event: Callable[[ev.Event], None]) -> None:
        """Take the launched process over onto the running event loop."""
        self._on_event = on_event
        self._watch_process()

    def _watch_process(self) -> None:
        assert self._supervisor_end is not None
        assert self._process is not None
        self._link = SupervisedLink(self._supervisor_end, self._take_report, self._link_is_unreadable)
        self._end_watch = EndWatch(self._process.pid, self._process_ended)
        if not self._arrived:
            self._time_process(ARRIVAL_SECONDS, self._tell_absence)

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
            self._process.wait()

    async def close(self) -> None:
        """End the job process: ask, wait, kill; at once when a job still runs. Idempotent."""
        self._leaving = True
        self._cancel_timers()
        if self._process is not None and self._link is not None:
            self._link.send(messages.Exit())
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

    def _start_process(self, method: Literal["fork", "run"]) -> None:
        supervisor_end, job_end = messages.socket_pair()
        try:
            if method == "fork":
                self._process = ForkedProcess(fork_job_process(self._plan, job_end, supervisor_end))
            elif isinstance(self._program, WorkerProgram):
                self._process = self._program.run(job_end)
            else:
                raise self._program
        except OSError as error:
            supervisor_end.close()
            raise HostError(f"The job process cannot be forked: {error}.") from error
        except HostError:
            supervisor_end.close()
            raise
        finally:
            job_end.close()
        self._supervisor_end = supervisor_end
        self._cpu_clock = _process_cpu_clock(self._process.pid)
        self._arrived = method == "fork"
        self._ready = self._was_ready = self._retired = False
        self._jobs_done = 0

    def _process_ended(self) -> None:
        assert self._process is not None
        assert self._link is not None
        self._link.drain()
        # What user code started and left. The process's number, and so its session's, is free once it was waited for.
        kill_session(self._process.pid)
        usage = self.usage()
        exit_code = self._process.wait()
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
            self._replace()
        else:
            self._ended.set()
            moment = Moment.SETUP if self._arrived else Moment.SCRIPT
            self._on_event(ev.HostFailed(self._death(exit_code, moment)))

    def _replace(self) -> None:
        try:
            self._start_process("run")
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
        if self._process is not None:
            kill_with_programs(self._process.pid)

    def _link_is_unreadable(self, error: HostError) -> None:
        """Nothing more is heard of the process: end it, and with it the job it may have."""
        job = self._job if self._job is not None and self._job.entered else None
        _logger.error("The job process is killed: %s", error, extra={"job_id": job.job_id} if job else None)
        if job is not None and job.verdict is None:
            job.verdict = failed_result(job.job_id, str(error))
        self._ready = False
        if not self._was_ready:
            self._setup_failed(str(error))
        self._kill_process()

    def _forget_process(self) -> None:
        if self._end_watch is not None:
            self._end_watch.close()
        if self._link is not None:
            self._link.close()
        self._process = self._link = self._end_watch = self._supervisor_end = self._cpu_clock = None
        self._ready = False
        self._stop_timing_process()

    def _time_process(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timing_process()
        self._timer_of_process = asyncio.get_running_loop().call_later(seconds, then)

    def _stop_timing_process(self) -> None:
        if self._timer_of_process is not None:
            self._timer_of_process.cancel()
            self._timer_of_process = None

    def _tell_absence(self) -> None:
        _logger.warning(
            "The worker's script, run again for the job process, has not come to start() for %g s, and jobs wait for "
            "it. What must happen once only (to take a port, a lock, a file), do in setup().",
            ARRIVAL_SECONDS,
        )

    # Wear and usage

    def _take_report(self, report: messages.Report) -> None:
        if isinstance(report, messages.Arrived):
            self._arrived = True
            self._stop_timing_process()
        else:
            super()._take_report(report)

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
            self._link.send(messages.Exit())
            # Threads that user code left behind must not keep the old process for ever.
            self._time_process(EXIT_SECONDS, self._kill_process)
        super()._job_ended(result)

    def _is_worn_out(self) -> bool:
        limits = self._limits
        if limits.max_jobs_per_process is not None and self._jobs_done >= limits.max_jobs_per_process:
            _logger.info("The job process is replaced after %d jobs.", self._jobs_done)
            return True
        if limits.max_rss_mb_per_process is None:
            return False
        rss_mb = self.resident_memory_bytes() >> 20
        if rss_mb > limits.max_rss_mb_per_process:
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


def _process_cpu_clock(pid: int) -> int | None:
    """The clock of a process's processor time: a microsecond to read, where /proc costs a hundred."""
    clock = ctypes.c_int()
    library = ctypes.CDLL(None)
    if not hasattr(library, "clock_getcpuclockid") or library.clock_getcpuclockid(pid, ctypes.byref(clock)) != 0:
        return None
    return clock.value
