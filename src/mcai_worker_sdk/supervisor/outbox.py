"""What waits for the broker's confirmation, in order, beside the loop that goes on answering."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.base import Exchange
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol.delivery import Delivery, Lane, Settlement
from mcai_worker_sdk.protocol.responses import JOB_RESPONSE, JobResult, Response, UnknownJobError, failed_result

__all__ = ["Outbox"]

_logger = get_logger(__name__)

#: How long the loop waits for a broker that is slow, or behind a dead link that nobody noticed yet, in seconds.
PATIENCE_SECONDS = 1.0


class Outbox:
    """
    Speaks to the exchange on the dispatcher's behalf, and does not wait where the broker may take its time.

    A job's end may stay unconfirmed for long: the broker is away, no queue takes it, a queue is full. Whatever follows
    from it (the order's settlement, the next order) waits here; ``status``, ``stop_worker`` and signals do not.

    Args:
        exchange: Where everything goes in the end.
        on_failure: Called when the worker cannot go on: the job queue is refused, or the SDK has a fault.
    """

    def __init__(self, exchange: Exchange, on_failure: Callable[[BaseException], None]) -> None:
        self._exchange = exchange
        self._on_failure = on_failure
        self._steps: deque[Callable[[], Awaitable[None]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._wants_jobs = False
        self._late: set[asyncio.Future[None]] = set()
        self._emptied = asyncio.Event()
        self._emptied.set()

    @property
    def is_empty(self) -> bool:
        """Whether everything is confirmed and settled."""
        return not self._steps

    async def emptied(self) -> None:
        """Wait until everything is confirmed and settled."""
        await self._emptied.wait()

    async def publish(self, response: Response) -> None:
        """Publish: a job's end in its turn; anything else at once, waiting for the confirmation for a while."""
        if isinstance(response, JobResult | UnknownJobError) and response.route[0] == JOB_RESPONSE:
            self._add(lambda: self._publish_end(response))
        else:
            await self._with_patience(self._exchange.publish(response))

    def publish_progression(self, response: Response) -> None:
        """Publish without waiting."""
        self._exchange.publish_progression(response)

    async def delay(self, delivery: Delivery) -> None:
        """Publish a copy to the delay exchange, in its turn."""
        self._add(lambda: self._exchange.delay(delivery))

    async def settle(self, delivery: Delivery, settlement: Settlement) -> None:
        """
        Settle an order of the job queue in its turn, after what it depends on; a direct message at once.

        The queue of direct messages ends with the worker: a late acknowledgement would save nothing, and keep the next
        message away.
        """
        if self._steps and delivery.lane is Lane.JOBS:
            self._add(lambda: self._exchange.settle(delivery, settlement))
        else:
            await self._exchange.settle(delivery, settlement)

    async def consume_jobs(self) -> None:
        """Take orders, once what is here is settled: the next delivery proves the acknowledgement before it."""
        self._wants_jobs = True
        if self._steps:
            self._add(self._consume_if_wanted)
        else:
            await self._exchange.consume_jobs()

    async def pause_jobs(self) -> None:
        """Take no more orders, at once."""
        self._wants_jobs = False
        await self._with_patience(self._exchange.pause_jobs())

    async def _with_patience(self, asked: Awaitable[None]) -> None:
        """Wait for an answer of the broker, and after a while no longer: nothing depends on it."""
        answer = asyncio.ensure_future(asked)
        try:
            await asyncio.wait({answer}, timeout=PATIENCE_SECONDS)
        finally:
            # Also when this wait itself is given up, at the worker's end: somebody has to hear the answer.
            if not answer.done():
                self._late.add(answer)
                answer.add_done_callback(self._came_late)
        if answer.done():
            answer.result()

    def _came_late(self, answer: asyncio.Future[None]) -> None:
        self._late.discard(answer)
        error = None if answer.cancelled() else answer.exception()
        if error is not None:
            _logger.info("The broker did not take everything: %s", error)

    def _add(self, step: Callable[[], Awaitable[None]]) -> None:
        self._steps.append(step)
        self._emptied.clear()
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="mcai-outbox")
            self._worker.add_done_callback(self._worked)

    async def _work(self) -> None:
        try:
            while self._steps:
                await self._steps[0]()
                self._steps.popleft()
            self._emptied.set()
        except ExchangeError as error:
            # The exchange is closed. What follows depends on what was not published: the orders come again.
            _logger.warning("A job's end is not published: %s", error)
            self._steps.clear()
        finally:
            # Not in the callback, which runs later: what is added in between would wait for ever.
            self._worker = None

    def _worked(self, worker: asyncio.Task[None]) -> None:
        error = None if worker.cancelled() else worker.exception()
        if error is not None:
            self._on_failure(error)

    async def _publish_end(self, response: Response) -> None:
        try:
            await self._exchange.publish(response)
        except ExchangeError as error:
            if not isinstance(response, JobResult):
                raise
            # The broker refuses its size, or the exchange is closed, which refuses this one too.
            _logger.error("The job's result is not published: %s", error, extra={"job_id": response.job_id})
            await self._exchange.publish(
                failed_result(
                    response.job_id,
                    str(error),
                    execution_duration_seconds=response.execution_duration_seconds,
                    cpu_time_seconds=response.cpu_time_seconds,
                )
            )

    async def _consume_if_wanted(self) -> None:
        if not self._wants_jobs:
            return
        try:
            await self._exchange.consume_jobs()
        except ExchangeError as error:
            self._on_failure(error)
