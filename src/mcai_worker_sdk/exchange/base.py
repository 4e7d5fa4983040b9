"""The port: what the supervisor needs of an exchange, whatever carries the messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol.delivery import Count, Delivery
from mcai_worker_sdk.protocol.responses import Response

__all__ = [
    "Exchange",
    "ExchangeEvent",
    "ExchangeFailed",
    "MessageRefusedError",
]


class MessageRefusedError(ExchangeError):
    """Raised when the broker will never take a message: it is too large, or not allowed."""


@dataclass(frozen=True, slots=True)
class ExchangeFailed:
    """The exchange gave up (wrong queue arguments, retries used up before the first connection): the worker ends."""

    error: ExchangeError


ExchangeEvent: TypeAlias = ev.OrderReceived | ev.OrderUnreadable | ev.LinkLost | ev.LinkRestored | ExchangeFailed


class Exchange(Protocol):
    """
    Orders in, responses out. All methods are coroutines of the supervisor's event loop.

    The exchange reconnects by itself. It calls ``on_event`` in the order things happen, and never from within a call of
    one of its own methods.
    """

    async def open(self, on_event: Callable[[ExchangeEvent], None], announce: Callable[[], Awaitable[None]]) -> None:
        """
        Connect, declare, call ``announce`` (which publishes ``worker_discovery``) and consume direct messages.

        ``announce`` is called again after each reconnection, before consuming goes on.

        Raises:
            ExchangeError: The broker cannot be used; names host, port, vhost or queue and the remedy.
        """
        ...

    async def publish(self, response: Response) -> None:
        """
        Publish and wait until the broker confirmed. Survives reconnections: it returns only once it is safe.

        Raises:
            MessageRefusedError: The broker will never take it.
            ExchangeError: The exchange was closed before the confirmation came.
        """
        ...

    def publish_progression(self, response: Response) -> None:
        """Publish without waiting; the newest unsent progression of a job replaces an older one. Order is kept
        with :meth:`publish`: a job's last progression is sent before its result."""
        ...

    async def delay(self, delivery: Delivery, count: Count) -> None:
        """
        Publish a copy of an order, one of its counts raised, to come back to the job queue after 5 s.

        It returns once a queue has taken the copy, over as many connections as it takes. The original still has to be
        settled.

        Raises:
            MessageRefusedError: The broker will never take it.
            ExchangeError: The exchange was closed before the confirmation came.
        """
        ...

    async def settle(self, delivery: Delivery) -> None:
        """Acknowledge a delivery. One of a lost link is left with a log line: the broker has taken it back already."""
        ...

    async def consume_jobs(self) -> None:
        """Start, or go on, taking orders from the job queue, one unsettled order at a time. Idempotent."""
        ...

    async def pause_jobs(self) -> None:
        """Take no more orders. One that is on its way may still arrive. Idempotent; survives reconnections."""
        ...

    async def close(self) -> None:
        """Close the connection; what is unsettled goes back to the queue. Idempotent."""
        ...
