"""
StepFlow and its broker, in memory: what stands opposite a worker in a test.

The worker is the one of production from the order's bytes on: the same reader, lifecycle, dispatcher and runner, with
the host of local orders, which runs a job in the calling thread. The queue is as strict as a broker with a prefetch of
one: an order is delivered when the last one is settled and the worker consumes. A direct message is delivered at once,
also from within a running job. Each message that the worker publishes is held against the shape of its kind.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mcai_worker_sdk.errors import HostError, ProtocolError
from mcai_worker_sdk.host.inline import InlineHost
from mcai_worker_sdk.job.observed import observed
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.engine import Lifecycle
from mcai_worker_sdk.protocol.delivery import Count, Delivery, Lane
from mcai_worker_sdk.protocol.orders import parse_order
from mcai_worker_sdk.protocol.responses import Response
from mcai_worker_sdk.services.system_info import SystemSampler
from mcai_worker_sdk.settings import Settings
from mcai_worker_sdk.supervisor.dispatch import Dispatcher, missing_paths
from mcai_worker_sdk.supervisor.identity import utc_now, worker_identity
from mcai_worker_sdk.target import make_worker
from mcai_worker_sdk.testing.orders import job_order, order_body
from mcai_worker_sdk.testing.runs import JobRun, Message, read_run
from mcai_worker_sdk.testing.script import ScriptRun, Step
from mcai_worker_sdk.testing.shapes import check_message
from mcai_worker_sdk.testing.surroundings import LogLine, Stores, surrounded
from mcai_worker_sdk.worker import Worker, definition_of

__all__ = ["StepFlow"]


@dataclass(slots=True)
class _Backend:
    """The black list of StepFlow's backend, which answers at once."""

    job_ids: set[int]
    on_event: Callable[[ev.Event], None]
    requests: list[str] = field(default_factory=list)

    def fetch(self) -> None:
        self.requests.append("GET /api/step_flow/blacklist")
        self.on_event(ev.BlackListFetched(frozenset(self.job_ids)))

    def delete(self, job_id: int) -> None:
        self.requests.append(f"DELETE /api/step_flow/blacklist/{job_id}")
        self.job_ids.discard(job_id)
        self.on_event(ev.BlackListFetched(frozenset(self.job_ids)))


class StepFlow:
    """
    Runs one worker, in this thread, on the orders that it is given. Use it as a context manager.

    ``setup()`` is called when the block begins, and every order of the block is run by the same worker object, as
    in production.

    Args:
        worker: The worker, or its class.
        environment: Variables beside those that are set, while the block lasts.
        credentials: What each credential store holds, by key; a store is ``env``, ``vault``, ``BACKEND``, any name.
        black_list: Jobs whose orders shall be dropped.
        on_message: Called with each message, after it was checked; may call :meth:`submit` and :meth:`send`.

    Raises:
        WorkerDefinitionError: The worker cannot be made of its class.
    """

    def __init__(
        self,
        worker: Worker | type[Worker],
        *,
        environment: Mapping[str, str] | None = None,
        credentials: Stores | None = None,
        black_list: Iterable[int] = (),
        on_message: Callable[[Message], None] = lambda _message: None,
    ) -> None:
        self._worker = make_worker(worker)
        self._environment = environment or {}
        self._credentials = credentials or {}
        self._backend = _Backend(set(black_list), self._take)
        self._on_message = on_message
        self._exit_stack = ExitStack()
        self._queue: deque[Delivery] = deque()
        self._is_consuming = False
        self._unsettled: Delivery | None = None
        self._failure: str | None = None
        self._script: ScriptRun | None = None
        self._batch_results: list[Any] = []
        self._folder: Path | None = None
        self.messages: list[Message] = []
        """What the worker published so far, in order."""
        self.log: list[LogLine] = []
        """What was logged so far, in order."""
        self.has_ended = False
        """Whether the worker has come to its end, by ``stop_worker`` or at the end of the block."""

    def __enter__(self) -> Self:
        """
        Raises:
            HostError: ``setup()`` failed.
            SettingsError: A variable has a value that is not allowed.
        """
        with ExitStack() as stack:
            settings = stack.enter_context(surrounded(self._environment, self._credentials, self.log.append))
            self._compose(settings)
            _run_now(self._dispatcher.announce("worker_discovery"))
            self._backend.fetch()
            self._host.attach(self._take)
            if self._failure is not None:
                raise HostError(f"The worker cannot run: {self._failure}")
            self._exit_stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._exit_stack:
            if not self.has_ended:
                self._take(ev.ShutdownRequested())
            _run_now(self._dispatcher.announce("worker_terminated"))

    # What a test does

    @property
    def waiting_orders(self) -> int:
        """How many orders lie in the job queue, those that are to come back included."""
        return len(self._queue)

    @property
    def backend_requests(self) -> list[str]:
        """What the worker asked of the backend, by method and path."""
        return list(self._backend.requests)

    def submit(self, order: Mapping[str, Any] | Path | str | bytes) -> None:
        """Put an order into the job queue, where it waits for :meth:`run`."""
        self._queue.append(Delivery(order_body(order)))

    def send(self, message: Mapping[str, Any] | bytes) -> None:
        """Send a direct message, such as ``{"type": "status"}``; it has been obeyed when this returns."""
        self._receive(Delivery(order_body(message), lane=Lane.DIRECT))

    def run(self) -> bool:
        """Let the worker take orders until it takes no more; True when it took any."""
        took_any = False
        while self._is_consuming and self._unsettled is None and self._queue:
            self._unsettled = self._queue.popleft()
            self._receive(self._unsettled)
            took_any = True
        return took_any

    def run_job(
        self, parameters: Mapping[str, Any] | None = None, *, job_id: int = 1, script: Sequence[Step] = ()
    ) -> JobRun:
        """
        Run one job.

        Args:
            parameters: Values by id, each one that JSON has a form for, or a ``Credential``. Of a media job
                ``destination_path`` may be left out: its results are in ``JobRun.frame_results``.
            job_id: The job.
            script: What happens while it runs.

        Raises:
            AssertionError: A step of the script was never due, a message has not StepFlow's shape, or the order ended
                without a result, as that of a job on the black list does.
        """
        values = dict(parameters or {})
        if self._is_media and "destination_path" not in values:
            values["destination_path"] = str(self._results_folder() / f"{job_id}.json")
        return self.run_order(job_order(job_id, values), script=script)

    def run_order(self, order: Mapping[str, Any] | Path | str | bytes, *, script: Sequence[Step] = ()) -> JobRun:
        """
        Run the job of one order, as :meth:`run_job`.

        Args:
            order: The order as a JSON object, the path of its file, or its bytes.
            script: What happens while it runs.
        """
        body = order_body(order)
        message_count, line_count = len(self.messages), len(self.log)
        self._batch_results = []
        self._script = ScriptRun(script, _job_id_of(body), self.send)
        try:
            self.submit(body)
            self.run()
            left = self._script.left
        finally:
            self._script = None
        run = read_run(self.messages[message_count:], self._batch_results, self.log[line_count:])
        if left:
            raise AssertionError(
                f"The job {run.job_id} ended as {run.status}, and these steps of its script were never due: "
                f"{', '.join(map(str, left))}; expected it to come so far. It published the progressions "
                f"{run.progressions}."
            )
        return run

    # The exchange, as the dispatcher sees it

    async def publish(self, response: Response) -> None:
        """Take a message."""
        self._record(response)

    def publish_progression(self, response: Response) -> None:
        """Take a progression."""
        self._record(response)
        if self._script is not None:
            self._script.progressed()

    async def delay(self, delivery: Delivery, job_id: int, count: Count) -> None:
        """Put a copy of an order at the end of the queue; nobody waits for the five seconds of the delay queue."""
        if count is Count.ATTEMPTS:
            raise AssertionError(
                f"The order of job {job_id} was lost; expected that only where a worker or a link was."
            )
        self._queue.append(replace(delivery, **{count.value: getattr(delivery, count.value) + 1}))

    async def settle(self, delivery: Delivery) -> None:
        """Acknowledge the order in hand."""
        if delivery.lane is not Lane.JOBS:
            return
        if delivery is not self._unsettled:
            raise AssertionError("The worker settles an order that is not in hand; expected each one once.")
        self._unsettled = None

    async def consume_jobs(self) -> None:
        """Deliver orders."""
        self._is_consuming = True

    async def pause_jobs(self) -> None:
        """Deliver no more of them."""
        self._is_consuming = False

    # Inside

    def _compose(self, settings: Settings) -> None:
        definition = definition_of(self._worker)
        self._is_media = definition.is_media
        self._host = InlineHost(observed(definition, self._processed), settings)
        self._dispatcher = Dispatcher(
            lifecycle=Lifecycle(settings.job, announces_start=definition.is_media),
            exchange=self,
            host=self._host,
            identity=worker_identity(settings, definition.description, definition.model.json_schema),
            system_information=_system_figures(),
            black_list=self._backend,
            check_requirements=self._check_requirements,
            drain=lambda: None,
            terminate=self._terminate,
        )

    def _receive(self, delivery: Delivery) -> None:
        self._take(ev.read_delivery(delivery))

    def _take(self, event: ev.Event) -> None:
        if isinstance(event, ev.HostFailed):
            self._failure = event.message
        _run_now(self._dispatcher.handle(event))

    def _record(self, response: Response) -> None:
        exchange, routing_key = response.route
        body = json.loads(json.dumps(response.as_json(utc_now())))
        check_message(exchange, routing_key, body)
        message = Message(exchange, routing_key, body)
        self.messages.append(message)
        self._on_message(message)

    def _processed(self, frames: int, returned: Any) -> None:
        self._batch_results.append(returned)
        if self._script is not None:
            self._script.processed(frames)

    def _check_requirements(self, job_id: int, paths: Sequence[str]) -> None:
        self._take(ev.RequirementsChecked(job_id, missing_paths(paths)))

    def _terminate(self, exit_code: int) -> None:
        del exit_code  # It is not zero where setup() failed, which __enter__ tells.
        self.has_ended = True

    def _results_folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(self._exit_stack.enter_context(tempfile.TemporaryDirectory()))
        return self._folder


def _job_id_of(body: bytes) -> int:
    """The job that an order is about, as far as it can be read: what cannot is the worker's to refuse."""
    try:
        return getattr(parse_order(body), "job_id", 0)
    except ProtocolError as error:
        return error.job_id or 0


@functools.cache
def _system_figures() -> SystemSampler:
    """Read once for the process: what they say is no part of a test."""
    sampler = SystemSampler()
    sampler.sample()
    return sampler


def _run_now(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never suspends, also from within another one: user code may start a loop of its own."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("An effect tried to wait; expected every part of a test to answer at once.")
