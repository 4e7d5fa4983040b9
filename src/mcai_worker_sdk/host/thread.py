"""User code in a thread of the supervisor: ``MCAI_ISOLATION=thread``, for those who cannot have a second process."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import psutil

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.host.job_loop import run_jobs
from mcai_worker_sdk.host.link import messages
from mcai_worker_sdk.host.link.job_end import JobLink
from mcai_worker_sdk.host.link.supervisor_end import SupervisedLink
from mcai_worker_sdk.host.supervised import LinkedHost
from mcai_worker_sdk.job.definition import WorkerDefinition
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.responses import JobResult, JobState, failed_result
from mcai_worker_sdk.settings import Settings

__all__ = ["ThreadHost"]

_logger = get_logger(__name__)


class ThreadHost(LinkedHost):
    """
    Runs user code in one thread, over the same link.

    What it cannot do: survive a crash of user code, answer while user code holds the GIL, end a job from outside.

    Args:
        definition: The worker.
        settings: Time-outs of jobs end in a stop order here, since a thread cannot be killed.
    """

    def __init__(self, definition: WorkerDefinition, settings: Settings) -> None:
        super().__init__(settings.job)
        self._definition = definition
        self._settings = settings

    def launch(self) -> None:
        """Nothing comes before the event loop."""

    def attach(self, on_event: Callable[[ev.Event], None]) -> None:
        """Start the thread."""
        self._on_event = on_event
        supervisor_end, job_end = messages.socket_pair()
        self._link = SupervisedLink(supervisor_end, self._take_report, self._link_is_unreadable)
        threading.Thread(target=self._serve, args=(JobLink(job_end),), name="mcai-job", daemon=True).start()

    def _serve(self, job_link: JobLink) -> None:
        run_jobs(self._definition, self._settings, job_link, on_orphaned=lambda: None)
        job_link.close()

    def _link_is_unreadable(self, error: HostError) -> None:
        """Nothing more is heard of the thread, and nothing can end it: its job fails, and the worker ends."""
        if self._job is not None:
            self._on_job_over(failed_result(self._job.job_id, str(error)))
        self._on_event(ev.HostFailed(str(error)))

    def kill(self, verdict: JobResult, reason: str) -> None:
        """A thread cannot be killed: the job is told to stop, and that is all."""
        if not self._end_waiting_job(verdict) and self._job is not None:
            self._job.verdict = verdict
            _logger.warning(
                "The job should be killed (%s), but MCAI_ISOLATION=thread cannot: it is told to stop.",
                reason,
                extra={"job_id": self._job.job_id},
            )
            self._send(cmd.StopJob(self._job.job_id))

    def _job_ended(self, result: JobResult) -> None:
        job = self._job
        if job is not None and job.verdict is not None and result.state is JobState.STOPPED:
            # It obeyed, but it was not told for the sake of stopping.
            result = replace(
                job.verdict,
                execution_duration_seconds=result.execution_duration_seconds,
                cpu_time_seconds=result.cpu_time_seconds,
            )
        super()._job_ended(result)

    def abandon(self) -> None:
        """The thread is a daemon: it ends with this process."""

    async def close(self) -> None:
        """End the thread if it waits; one that runs a job ends with the supervisor."""
        self._cancel_timers()
        if self._link is not None:
            self._link.send(messages.Exit())
            self._link.close()

    def leave(self, exit_code: int) -> None:
        """End the process if its job still runs: the interpreter would wait for threads that the job started."""
        if self._job is None:
            return
        _logger.warning(
            "The job still runs in its thread, and nothing can end it there: the process ends with exit code %d now.",
            exit_code,
            extra={"job_id": self._job.job_id},
        )
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(exit_code)

    def resident_memory_bytes(self) -> int:
        """Memory of this process, in bytes."""
        return int(psutil.Process().memory_info().rss)

    def _cpu_seconds(self) -> float:
        return time.process_time()
