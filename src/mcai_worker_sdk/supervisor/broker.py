"""
The supervisor of a worker behind a broker: one loop that takes events and does what the lifecycle answers.

It never runs user code, so heartbeats, ``status`` and ``stop_process`` are answered whatever a job does.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import psutil

from mcai_worker_sdk.errors import ConfigurationError, ExchangeError
from mcai_worker_sdk.exchange.base import Exchange, ExchangeFailed
from mcai_worker_sdk.host.port import Host
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.engine import Lifecycle
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol.orders import StopWorker
from mcai_worker_sdk.protocol.responses import failed_result
from mcai_worker_sdk.services.backend import BackendClient
from mcai_worker_sdk.services.system_info import SystemSampler
from mcai_worker_sdk.settings import Settings
from mcai_worker_sdk.supervisor.black_list import BackendBlackList
from mcai_worker_sdk.supervisor.dispatch import Dispatcher, missing_paths
from mcai_worker_sdk.supervisor.metrics import WorkerFigures, WorkerState, render_metrics
from mcai_worker_sdk.supervisor.outbox import Outbox

if TYPE_CHECKING:
    from mcai_worker_sdk.supervisor.http_endpoint import HttpEndpoint

__all__ = ["BrokerSupervisor"]

_logger = get_logger(__name__)

#: How long a job may still take after the shutdown's grace before its process is killed, in seconds.
STOP_SECONDS = 3.0
#: How long the last message may take to reach the broker, in seconds.
FAREWELL_SECONDS = 2.0
#: How long the worker waits, idle at the job queue, for an order that may come back: the 5 s of the delay queue, where
#: another worker may have sent it, and as much again.
RETURN_SECONDS = 10.0
#: How many heartbeats the broker may take, after a link that ended without a word, to notice and take its orders back.
#: RabbitMQ looks once per heartbeat, and gives up after two looks without a byte.
UNNOTICED_HEARTBEATS = 3

_Incoming: TypeAlias = ev.Event | ExchangeFailed


class BrokerSupervisor:
    """
    Composes exchange, lifecycle, host and services, and runs until the worker ends.

    Args:
        settings: The worker's settings.
        identity: Its announcement.
        exchange: Where orders come from; not yet open.
        host: Where user code runs; launched, and attached here.
        lifecycle: Decides.
    """

    def __init__(
        self,
        settings: Settings,
        identity: Mapping[str, Any],
        exchange: Exchange,
        host: Host,
        lifecycle: Lifecycle,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._exchange = exchange
        self._events: asyncio.Queue[_Incoming] = asyncio.Queue()
        self._host = host
        self._figures = WorkerFigures(identity)
        self._lifecycle = lifecycle
        self._sampler = SystemSampler()
        self._black_list = BackendBlackList(
            BackendClient(settings.backend, proxies=settings.proxies), self._events.put_nowait
        )
        self._outbox = Outbox(exchange, self._on_fault)
        self._dispatcher = Dispatcher(
            lifecycle=self._lifecycle,
            exchange=self._outbox,
            host=self._host,
            identity=identity,
            system_information=self._sampler,
            black_list=self._black_list,
            check_requirements=self._start_check,
            drain=self._begin_grace,
            terminate=self._terminate,
            stay=self._stay,
            await_return=self._await_return,
            on_result=self._figures.count,
        )
        self._endpoint = self._make_endpoint()
        self._finished = asyncio.Event()
        self._exit_code = 0
        self._opened = False
        self._connected = False
        self._restored_at = 0.0
        self._signals = 0
        self._draining = False
        self._ending: asyncio.Task[None] | None = None
        self._check: asyncio.Future[list[str]] | None = None

    def run(self) -> int:
        """
        Run the worker. Called without an event loop.

        Returns:
            The exit code: 0 after an order or a signal to end, 1 when it could not start or go on.
        """
        # A loop of its own: what the worker's script installed (uvloop, a policy) is for the script's own purposes.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            return runner.run(self._run())

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # ``nohup`` has the worker outlive its terminal.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, number)
        self._host.attach(self._events.put_nowait)
        self._sampler.start()
        serving = asyncio.create_task(self._serve(), name="mcai-supervisor")
        serving.add_done_callback(self._on_task_done)
        await self._finished.wait()
        await self._close(serving)
        return self._exit_code

    async def _serve(self) -> None:
        try:
            if self._endpoint is not None:
                await self._endpoint.start()
            await self._exchange.open(self._events.put_nowait, self._announce_discovery)
        except (ConfigurationError, ExchangeError) as error:
            _logger.error("The worker cannot start: %s", error)
            self._finish(1)
            return
        self._opened = self._connected = True
        await self._black_list.start()
        while True:
            event = await self._events.get()
            await self._take(event)

    async def _take(self, event: _Incoming) -> None:
        match event:
            case ev.LinkLost():
                self._connected = False
                await self._dispatcher.handle(event)
            case ev.LinkRestored():
                self._connected = True
                self._restored_at = asyncio.get_running_loop().time()
                await self._dispatcher.handle(event)
            case ev.OrderReceived(order=StopWorker()):
                await self._dispatcher.handle(event)
                # A result that the broker does not take must not keep the worker for ever either.
                self._begin_grace()
            case ExchangeFailed():
                _logger.error("The worker cannot go on: %s", event.error)
                self._finish(1)
            case ev.HostFailed():
                _logger.error("The worker cannot run jobs: %s", event.message)
                await self._dispatcher.handle(event)
                # What it has to say, or gives back, must not keep it for ever where the broker is away.
                asyncio.get_running_loop().call_later(2 * STOP_SECONDS, self._finish, 1)
            case _:
                await self._dispatcher.handle(event)

    def _await_return(self, number: int, brief: bool) -> None:
        loop = asyncio.get_running_loop()
        seconds = RETURN_SECONDS
        if not brief:
            unnoticed = UNNOTICED_HEARTBEATS * self._settings.amqp.heartbeat_seconds
            seconds = max(seconds, self._restored_at + unnoticed - loop.time())
        loop.call_later(seconds, self._events.put_nowait, ev.ReturnOverdue(number))

    async def _announce_discovery(self) -> None:
        await self._dispatcher.announce("worker_discovery")

    def _start_check(self, job_id: int, paths: Sequence[str]) -> None:
        if self._check is not None:
            # The job it was for is no longer in hand; its answer would be taken for this one's.
            self._check.cancel()
        loop = asyncio.get_running_loop()
        self._check = loop.create_future()
        self._check.add_done_callback(lambda check: self._checked(job_id, check))
        # A path on a network file system that hangs must take neither the heartbeats nor the worker's end with it: the
        # threads of the loop's own pool are waited for at its end, a daemon thread is not.
        threading.Thread(target=_look, args=(loop, self._check, paths), name="mcai-requirements", daemon=True).start()

    def _checked(self, job_id: int, check: asyncio.Future[list[str]]) -> None:
        if not check.cancelled():
            self._events.put_nowait(ev.RequirementsChecked(job_id, check.result()))

    # Health and metrics

    def _make_endpoint(self) -> HttpEndpoint | None:
        http = self._settings.http
        if http.port is None:
            return None
        # Here, not at the top: the server is loaded only where somebody asks for it.
        from mcai_worker_sdk.supervisor.http_endpoint import HttpEndpoint

        return HttpEndpoint(http.host, http.port, readiness=self._readiness, metrics=self._metrics)

    def _readiness(self) -> tuple[bool, Mapping[str, Any]]:
        consuming = self._lifecycle.is_taking_jobs
        job_id = self._lifecycle.current_job_id
        return self._connected and consuming, {"connected": self._connected, "taking_jobs": consuming, "job_id": job_id}

    def _metrics(self) -> bytes:
        in_flight = self._lifecycle.current_job_id is not None
        memory = {"supervisor": psutil.Process().memory_info().rss, "job": self._host.resident_memory_bytes()}
        return render_metrics(self._figures, WorkerState(in_flight, self._connected, memory))

    # Ending

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        name = signal.Signals(number).name
        if self._signals > 1:
            _logger.warning("%s again: the worker ends at once.", name)
            self._finish(128 + number)
            return
        grace = self._settings.job.shutdown_grace_seconds
        if not self._opened:
            _logger.info("%s: the worker ends before it was connected.", name)
            self._finish(0)
            return
        _logger.info("%s: the worker takes no more jobs and ends; a running job has %g s.", name, grace)
        self._events.put_nowait(ev.ShutdownRequested())
        # At once, not when the event is taken: the loop may wait for a broker that is away.
        self._begin_grace()

    def _begin_grace(self) -> None:
        if self._draining:
            return
        self._draining = True
        grace = self._settings.job.shutdown_grace_seconds
        loop = asyncio.get_running_loop()
        loop.call_later(grace, self._events.put_nowait, ev.GraceExpired())
        loop.call_later(grace + STOP_SECONDS, self._kill_job)
        # Even if a result cannot be published because the broker is away: its order goes back to the queue.
        loop.call_later(grace + 2 * STOP_SECONDS, self._finish, 0)

    def _kill_job(self) -> None:
        job_id = self._lifecycle.current_job_id
        if job_id is not None:
            self._host.kill(failed_result(job_id, "The worker was shut down."), "the shutdown's grace is over")

    def _terminate(self, exit_code: int) -> None:
        if self._outbox.is_empty:
            self._finish(exit_code)
            return
        self._ending = asyncio.create_task(self._finish_emptied(exit_code), name="mcai-ending")

    def _stay(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    async def _finish_emptied(self, exit_code: int) -> None:
        await self._outbox.emptied()
        self._finish(exit_code)

    def _finish(self, exit_code: int) -> None:
        if not self._finished.is_set():
            self._exit_code = exit_code
            self._finished.set()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._on_fault(error)

    def _on_fault(self, error: BaseException) -> None:
        if isinstance(error, ExchangeError):
            _logger.error("The worker cannot go on: %s", error)
        else:
            _logger.critical("The supervisor failed: the worker ends.", exc_info=error)
        self._finish(1)

    async def _close(self, serving: asyncio.Task[None]) -> None:
        serving.cancel()
        await asyncio.wait({serving})
        await asyncio.gather(self._host.close(), self._say_goodbye())
        if self._ending is not None:
            self._ending.cancel()
        await self._exchange.close()
        await self._black_list.close()
        if self._endpoint is not None:
            await self._endpoint.close()

    async def _say_goodbye(self) -> None:
        if not self._opened:
            return
        with contextlib.suppress(TimeoutError, ExchangeError):
            await asyncio.wait_for(self._dispatcher.announce("worker_terminated"), FAREWELL_SECONDS)


def _look(loop: asyncio.AbstractEventLoop, check: asyncio.Future[list[str]], paths: Sequence[str]) -> None:
    missing = missing_paths(paths)

    def answer() -> None:
        if not check.done():
            check.set_result(missing)

    with contextlib.suppress(RuntimeError):  # The loop is closed: the worker has ended.
        loop.call_soon_threadsafe(answer)
