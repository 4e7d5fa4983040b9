"""Local orders: each file of ``SOURCE_ORDERS`` through the same lifecycle and runner, in the main thread."""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.local import LocalExchange, read_source_order
from mcai_worker_sdk.host.inline import InlineHost
from mcai_worker_sdk.job.definition import WorkerDefinition
from mcai_worker_sdk.job.observed import observed
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.engine import Lifecycle
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.responses import JobResult, JobState, Progression, Response
from mcai_worker_sdk.services.system_info import SystemSampler
from mcai_worker_sdk.settings import JobSettings, Settings
from mcai_worker_sdk.supervisor.dispatch import Dispatcher, SystemInformation, missing_paths
from mcai_worker_sdk.supervisor.identity import utc_now
from mcai_worker_sdk.supervisor.presentation import OrderPresentation, make_presentation

__all__ = ["LocalSupervisor", "run_local"]

_logger = get_logger(__name__)

_LEFT = "the run was interrupted."


def run_local(
    definition: WorkerDefinition,
    settings: Settings,
    identity: Mapping[str, Any],
    presentation: OrderPresentation | None = None,
) -> int:
    """
    Run the orders that ``SOURCE_ORDERS`` names.

    Args:
        definition: The worker.
        settings: Its settings.
        identity: The worker's announcement.
        presentation: Shows the orders; ``None`` for bars and a table where a terminal is.

    Returns:
        The exit code: 0 when every order was read, run and ended without error.
    """
    if ignored := _ignored_limits(settings.job):
        _logger.warning("Local orders run in this process, each to its end: %s has no effect.", ", ".join(ignored))
    sampler = SystemSampler()
    sampler.sample()
    # A reader of JSON lines wants nothing between them.
    presentation = presentation or make_presentation(wanted=not settings.log.only_json)
    succeeded = LocalSupervisor(definition, settings, identity, sampler, presentation).run(settings.source_orders)
    return 0 if succeeded else 1


def _ignored_limits(job: JobSettings) -> list[str]:
    """The variables that are set and need a second process, or a broker that keeps what is left."""
    limits = {
        "MCAI_JOB_TIMEOUT_SECONDS": job.timeout_seconds,
        "MCAI_STOP_GRACE_SECONDS": job.stop_grace_seconds,
        "MCAI_MAX_JOBS": job.max_jobs,
        "MCAI_MAX_JOBS_PER_PROCESS": job.max_jobs_per_process,
        "MCAI_MAX_RSS_MB_PER_PROCESS": job.max_rss_mb_per_process,
    }
    return [variable for variable, limit in limits.items() if limit is not None]


class _NoBlackList:
    """Local orders know no backend."""

    def fetch(self) -> None:
        _logger.warning("The black list is not fetched: local orders know no backend.")

    def delete(self, job_id: int) -> None:
        del job_id


class LocalSupervisor:
    """
    Runs source orders one after the other, without broker, event loop or second process.

    Args:
        definition: The worker.
        settings: Its settings.
        identity: The worker's announcement.
        system_information: Figures for progressions.
        presentation: Shows orders and their progression to a person.
    """

    def __init__(
        self,
        definition: WorkerDefinition,
        settings: Settings,
        identity: Mapping[str, Any],
        system_information: SystemInformation,
        presentation: OrderPresentation,
    ) -> None:
        self._presentation = presentation
        self._results: list[JobResult] = []
        self._interrupted = False
        self._job_id: int | None = None
        self._host_failure: str | None = None
        # Nobody brings a delayed order back here, so a missing requirement fails the order at once.
        self._lifecycle = Lifecycle(settings.job.model_copy(update={"soft_limit": 0}))
        self._host = InlineHost(observed(definition, self._processed), settings)
        # Who sees a bar and a table need not read the responses as JSON.
        level = logging.DEBUG if presentation.shows_responses else logging.INFO
        self._exchange = LocalExchange(utc_now, self._on_response, level=level)
        self._dispatcher = Dispatcher(
            lifecycle=self._lifecycle,
            exchange=self._exchange,
            host=self._host,
            identity=identity,
            system_information=system_information,
            black_list=_NoBlackList(),
            check_requirements=self._check_requirements,
            drain=lambda: None,
            terminate=lambda _code: None,
        )

    def run(self, paths: Sequence[Path]) -> bool:
        """
        Run the worker's ``setup`` and then every order.

        Args:
            paths: Order files, in order.

        Returns:
            True when every order was read, run and ended without error. Ctrl-C stops the job at hand and leaves the
            rest; a second one ends the process at once.
        """
        with _ctrl_c(self._interrupt, self._presentation.abandon), self._presentation:
            self._host.attach(self._take)
            if self._host_failure is not None:
                _logger.error("The worker cannot run: %s", self._host_failure)
                return False
            outcomes = [self._run_order(path) for path in paths]
            # A job that was initialised and never started has something to close.
            self._take(ev.ShutdownRequested())
        return all(outcomes) and not self._interrupted

    def _run_order(self, path: Path) -> bool:
        if self._interrupted:
            _logger.warning("The source order %r is left: %s", str(path), _LEFT)
            return False
        _logger.info("Start to process order: %r", str(path))
        self._results.clear()
        self._presentation.start(path)
        failure = self._feed_order(path)
        result = self._results[-1] if self._results else None
        self._presentation.end(result, failure)
        return failure is None and (result is None or result.state is not JobState.ERROR)

    def _feed_order(self, path: Path) -> str | None:
        try:
            delivery = read_source_order(path)
        except ExchangeError as error:
            return self._unread(str(error))
        received = ev.read_delivery(delivery)
        if isinstance(received, ev.OrderUnreadable):
            return self._unread(f"Source order {str(path)!r}: {received.message}")
        # Set the job's id first, then look: an interruption in between is seen by one of the two.
        self._job_id = getattr(received.order, "job_id", None)
        if self._interrupted:
            return _LEFT
        self._take(received)
        self._job_id = None
        if delivery in self._exchange.sent_back:
            return self._unread(
                f"Source order {str(path)!r} was not run: another job is initialised, or the worker was told to end."
            )
        return None

    def _unread(self, message: str) -> str:
        _logger.error("%s", message)
        return message

    def _take(self, event: ev.Event) -> None:
        if isinstance(event, ev.HostFailed):
            self._host_failure = event.message
        _run_now(self._dispatcher.handle(event))

    def _on_response(self, response: Response) -> None:
        if isinstance(response, Progression):
            self._presentation.progress(response.progression)
        elif isinstance(response, JobResult):
            self._results.append(response)

    def _processed(self, frames: int, _returned: object) -> None:
        self._presentation.frames(frames)

    def _interrupt(self) -> None:
        """Called by a signal handler, which may have come while this thread holds any lock: the work is another's."""
        self._interrupted = True
        _thread.start_new_thread(self._ask_to_stop, ())

    def _ask_to_stop(self) -> None:
        _logger.warning("Interrupted: the job is asked to stop, other orders are left; Ctrl-C again ends at once.")
        job_id = self._job_id
        if job_id is not None:
            self._host.command(cmd.StopJob(job_id))

    def _check_requirements(self, job_id: int, paths: Sequence[str]) -> None:
        self._take(ev.RequirementsChecked(job_id, missing_paths(paths)))


def _run_now(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never suspends. User code may thus start an event loop of its own."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("A local effect tried to wait; expected every part of the local exchange to answer at once.")


@contextlib.contextmanager
def _ctrl_c(interrupt: Callable[[], None], abandon: Callable[[], None]) -> Iterator[None]:
    """Have the first Ctrl-C call ``interrupt``, and the second one ``abandon`` before it ends the process."""
    asked = False

    def on_signal(number: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            with contextlib.suppress(Exception):  # The terminal may be what has gone; the end must come all the same.
                abandon()
            os._exit(128 + number)
        asked = True
        interrupt()

    # Signals are the main thread's, and a worker may be started beside it (a notebook, a test).
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    previous = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
