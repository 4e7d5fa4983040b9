"""What waits for the broker's confirmation, in order, beside the loop that goes on answering."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.base import Exchange, MessageRefusedError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol.delivery import Count, Delivery, Lane
from mcai_worker_sdk.protocol.responses import JOB_RESPONSE, JobResult, Response, UnknownJobError, failed_result

__all__ = ["Outbox"]

_logger = get_logger(__name__)

#: How long the loop waits for a broker that is slow, or behind a dead link that nobody noticed yet, in seconds.
PATIENCE_SECONDS = 1.0
#: What is said of a job when the broker takes nothing longer.
SHORTEST = "The broker refused the job's result."


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

    async def delay(self, delivery: Delivery, job_id: int, count: Count) -> None:
        """Publish a copy to the delay exchange, in its turn; where it is refused, the job ends in an error."""
        self._add(lambda: self._delay(delivery, job_id, count))

    async def settle(self, delivery: Delivery) -> None:
        """
        Settle an order of the job queue in its turn, after what it depends on; a direct message at once.

        The queue of direct messages ends with the worker: a late acknowledgement would save nothing, and keep the next
        message away.
        """
        if self._steps and delivery.lane is Lane.JOBS:
            self._add(lambda: self._exchange.settle(delivery))
        else:
            await self._exchange.settle(delivery)

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
            try:
                answer.result()
            except MessageRefusedError as error:
                _logger.warning("An answer is not published: %s", error)

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

    async def _publish_end(self, response: JobResult | UnknownJobError) -> None:
        """Publish a job's end. Whatever comes of it, the order is settled: refused, it is said in fewer words."""
        refusal = await self._refused(response)
        if refusal is not None:
            refusal = await self._refused(_failure(response, str(refusal)))
        if refusal is not None:
            await self._refused(_failure(response, SHORTEST))

    async def _refused(self, response: JobResult | UnknownJobError) -> MessageRefusedError | None:
        """Publish, and tell why the broker refused, if it did."""
        try:
            await self._exchange.publish(response)
        except MessageRefusedError as error:
            job_id = response.job_id if isinstance(response, JobResult) else None
            _logger.error("A job's end is not published: %s", error, extra={"job_id": job_id})
            return error
        return None

    async def _delay(self, delivery: Delivery, job_id: int, count: Count) -> None:
        try:
            await self._exchange.delay(delivery, count)
        except MessageRefusedError as error:
            await self._publish_end(failed_result(job_id, f"The order cannot go through the delay queue. {error}"))

    async def _consume_if_wanted(self) -> None:
        if not self._wants_jobs:
            return
        try:
            await self._exchange.consume_jobs()
        except ExchangeError as error:
            self._on_failure(error)


def _failure(response: JobResult | UnknownJobError, message: str) -> JobResult | UnknownJobError:
    """The same end in other words."""
    if isinstance(response, UnknownJobError):
        return UnknownJobError(message)
    return failed_result(
        response.job_id,
        message,
        execution_duration_seconds=response.execution_duration_seconds,
        cpu_time_seconds=response.cpu_time_seconds,
    )
