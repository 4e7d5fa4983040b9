"""
What has to be published, in order, until the broker has it.

It outlives connections. What was sent and not confirmed when a channel ended is sent again on the next one, in its
order. A progression waits here as one slot per job: a newer one replaces it as long as it is unsent.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import pika  # type: ignore[import-untyped]

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.base import MessageRefusedError
from mcai_worker_sdk.exchange.rabbitmq.client import AmqpChannel, AmqpClosed
from mcai_worker_sdk.exchange.rabbitmq.fields import MessageProperties
from mcai_worker_sdk.exchange.rabbitmq.reply_codes import ReplyCode
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol.responses import JOB_RESPONSE, JobResult, Progression, Response, UnknownJobError, dump

__all__ = ["Publisher"]

_log = get_logger(__name__)

#: Progressions sent and not yet confirmed; with more than this the newest value of a job replaces its unsent one.
PROGRESSION_WINDOW = 128
#: Delays before an unroutable or refused message is sent again, seconds; the last one repeats.
RETRY_DELAYS_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
#: How the broker says that a message is too large for it, and which exchange it does not let a message into.
_TOO_LARGE = re.compile(r"message size \d+ is larger than .*max size (\d+)")
_EXCHANGE = re.compile(r"exchange '([^']*)'")


class _Entry:
    """One message on its way."""

    __slots__ = (
        "body",
        "done",
        "exchange",
        "job_id",
        "must_arrive",
        "progression",
        "properties",
        "returned",
        "routing_key",
        "tries",
    )

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        body: bytes | Callable[[], bytes],
        properties: Any,
        *,
        must_arrive: bool = False,
        job_id: int | None = None,
        done: asyncio.Future[bool] | None = None,
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = body
        self.properties = properties
        self.must_arrive = must_arrive
        self.job_id = job_id
        self.done = done
        self.progression = done is None
        self.returned = ""
        self.tries = 0

    @property
    def abandoned(self) -> bool:
        """The one who waited for it has gone."""
        return self.done is not None and self.done.cancelled()

    def content(self) -> bytes:
        """The bytes; a progression is dumped only when it is sent."""
        if not isinstance(self.body, bytes):
            self.body = self.body()
        return self.body


class Publisher:
    """Publishes with confirms and ``mandatory``, in order, across connections."""

    def __init__(self, *, delivery_mode: int, now: Callable[[], str]) -> None:
        """
        Args:
            delivery_mode: 2 for persistent messages, 1 for transient ones.
            now: The ``datetime`` of a message.
        """
        self._delivery_mode = delivery_mode
        self._now = now
        self._properties = pika.BasicProperties(content_type="application/json", delivery_mode=delivery_mode)
        self._waiting: deque[_Entry] = deque()
        self._unconfirmed: dict[int, _Entry] = {}
        self._progressions: dict[int, _Entry] = {}
        self._progressions_in_flight = 0
        self._channel: AmqpChannel | None = None
        self._next_tag = 1
        self._exchange = ""
        self._blocked = False
        self._retries: dict[_Entry, asyncio.TimerHandle] = {}
        self._unroutable_keys: set[str] = set()
        self._closed = False

    async def publish(self, response: Response) -> None:
        """
        Publish and wait for the confirmation, over as many connections as it takes.

        A job's end is sent again until a queue has taken it. Any other response that no queue wants is dropped: nobody
        listens, as when StepFlow is not up yet.

        Raises:
            MessageRefusedError: The message is too large for the broker.
            ExchangeError: The exchange was closed first.
        """
        exchange, routing_key = response.route
        taken = await self._submit(
            exchange,
            routing_key,
            dump(response, self._now()),
            self._properties,
            must_arrive=exchange == JOB_RESPONSE and isinstance(response, JobResult | UnknownJobError),
            job_id=response.job_id if isinstance(response, JobResult) else None,
        )
        if not taken and routing_key not in self._unroutable_keys:
            self._unroutable_keys.add(routing_key)
            _log.warning(
                "No queue takes %s from exchange %s (NO_ROUTE): is StepFlow running on this broker? Said once.",
                routing_key,
                exchange,
            )

    async def publish_copy(
        self, exchange: str, routing_key: str, body: bytes, properties: MessageProperties, headers: Mapping[str, Any]
    ) -> bool:
        """
        Publish a delivered message again, with other headers, and wait for the confirmation.

        Args:
            exchange: Where.
            routing_key: With which key.
            body: The message.
            properties: Those it came with.
            headers: Headers to replace, ``None`` to leave one out.

        Returns:
            Whether a queue took it.

        Raises:
            MessageRefusedError: The message, or its headers, are too large for the broker.
            ExchangeError: The exchange was closed first.
        """
        copy = properties.copy(delivery_mode=self._delivery_mode, headers=headers)
        return await self._submit(exchange, routing_key, body, copy, must_arrive=False)

    def publish_progression(self, progression: Progression) -> None:
        """Send soon, without waiting; replaces an unsent progression of the same job."""
        if self._closed:
            return
        now = self._now()

        def body() -> bytes:
            return dump(progression, now)

        slot = self._progressions.get(progression.job_id)
        if slot is not None:
            slot.body = body
            return
        exchange, routing_key = progression.route
        entry = _Entry(exchange, routing_key, body, self._properties, job_id=progression.job_id)
        self._progressions[progression.job_id] = entry
        self._waiting.append(entry)
        self._pump()

    async def attach(self, channel: AmqpChannel) -> None:
        """Use a new channel: turn confirms on, and send what waits."""
        self.detach()
        await channel.confirm(self._on_confirm, self._on_return)
        self._channel = channel
        self._next_tag = 1
        self._pump()

    def detach(self, reason: AmqpClosed | None = None) -> None:
        """Forget the channel; what it did not confirm is first in the line for the next one."""
        self._channel = None
        self._blocked = False
        if reason is not None:
            self._set_aside(reason)
        unconfirmed = [entry for entry in self._unconfirmed.values() if not entry.abandoned]
        self._unconfirmed.clear()
        self._progressions_in_flight = 0
        superseded = set(self._progressions)
        for entry in reversed(unconfirmed):
            entry.returned = ""
            if entry.progression and entry.job_id is not None:
                # A newer one waits; or the result behind it was sent too, and may have arrived: no progression
                # follows a result.
                if entry.job_id in superseded:
                    continue
                self._progressions[entry.job_id] = entry
            if entry.job_id is not None:
                superseded.add(entry.job_id)
            self._waiting.appendleft(entry)

    @property
    def is_blocked(self) -> bool:
        """Whether the broker takes nothing for now; it answers no request either."""
        return self._blocked

    def set_blocked(self, blocked: bool, reason: str) -> None:
        """Hold everything back while the broker takes nothing, so that progressions coalesce."""
        self._blocked = blocked
        if blocked:
            _log.warning("RabbitMQ takes no messages for now (%s); they wait here.", reason)
        else:
            _log.info("RabbitMQ takes messages again.")
            self._pump()

    def close(self) -> None:
        """Give up what is not confirmed: everyone who waits gets :class:`ExchangeError`."""
        self._closed = True
        self._channel = None
        for timer in self._retries.values():
            timer.cancel()
        for entry in (*self._unconfirmed.values(), *self._waiting, *self._retries):
            if entry.done is not None and not entry.done.done():
                entry.done.set_exception(ExchangeError(_closed_text(entry)))
        self._unconfirmed.clear()
        self._waiting.clear()
        self._retries.clear()
        self._progressions.clear()

    async def _submit(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Any,
        *,
        must_arrive: bool,
        job_id: int | None = None,
    ) -> bool:
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        entry = _Entry(exchange, routing_key, body, properties, must_arrive=must_arrive, job_id=job_id, done=done)
        if self._closed:
            raise ExchangeError(_closed_text(entry))
        self._waiting.append(entry)
        self._pump()
        return await done

    def _pump(self) -> None:
        channel = self._channel
        if channel is None or self._blocked:
            return
        waiting = self._waiting
        while waiting and channel.is_open:
            entry = waiting[0]
            if self._unconfirmed and entry.exchange != self._exchange:
                # A message that its exchange does not take costs the channel, and what was under way beside it is sent
                # again: it must not be a result that had arrived.
                return
            if entry.progression and entry.job_id is not None:
                if self._progressions_in_flight >= PROGRESSION_WINDOW:
                    return
                self._progressions_in_flight += 1
                del self._progressions[entry.job_id]
            waiting.popleft()
            if entry.abandoned or _exceeds(entry, channel):
                continue
            self._exchange = entry.exchange
            self._unconfirmed[self._next_tag] = entry
            self._next_tag += 1
            channel.publish(
                entry.exchange,
                entry.routing_key,
                entry.content(),
                entry.properties,
                mandatory=not entry.progression,
            )

    def _on_confirm(self, tag: int, multiple: bool, acknowledged: bool) -> None:
        tags = [one for one in self._unconfirmed if one <= tag] if multiple else [tag]
        for one in tags:
            entry = self._unconfirmed.pop(one, None)
            if entry is None:
                continue
            if entry.progression:
                self._progressions_in_flight -= 1
            elif not acknowledged:
                self._try_later(entry, "the broker refused it (basic.nack)")
            elif entry.returned and entry.must_arrive:
                self._try_later(entry, f"no queue takes it ({entry.returned})")
            else:
                _finish(entry, taken=not entry.returned)
        if self._waiting:
            self._pump()

    def _on_return(self, exchange: str, routing_key: str, body: bytes, reason: str) -> None:
        # The broker returns a message just before it confirms it, and in the order of publishing; the frame holds no
        # tag. Of two equal messages in flight it does not matter which one is meant.
        for entry in self._unconfirmed.values():
            same_route = entry.exchange == exchange and entry.routing_key == routing_key
            if same_route and not entry.returned and entry.content() == body:
                entry.returned = reason or "NO_ROUTE"
                return

    def _try_later(self, entry: _Entry, why: str) -> None:
        if entry.abandoned:
            return
        delay = RETRY_DELAYS_SECONDS[min(entry.tries, len(RETRY_DELAYS_SECONDS) - 1)]
        entry.tries += 1
        entry.returned = ""
        _log.warning(
            "The message %s to exchange %s is not delivered: %s. It is sent again in %.1f s.",
            entry.routing_key,
            entry.exchange,
            why,
            delay,
        )
        self._retries[entry] = asyncio.get_running_loop().call_later(delay, self._resubmit, entry)

    def _resubmit(self, entry: _Entry) -> None:
        self._retries.pop(entry, None)
        self._waiting.append(entry)
        self._pump()

    def _set_aside(self, reason: AmqpClosed) -> None:
        """
        Take out of the line what the broker closed the channel for: sent again first of all, it would close the next.

        The broker does not say which message it means, but it takes them in their order.
        """
        too_large = _TOO_LARGE.search(str(reason))
        if too_large:
            most = int(too_large.group(1))
            for tag, entry in list(self._unconfirmed.items()):
                if len(entry.content()) > most:
                    self._refuse(self._unconfirmed.pop(tag), _too_large_text(entry, reason))
            return
        exchange = _EXCHANGE.search(str(reason))
        named = [tag for tag, one in self._unconfirmed.items() if exchange and one.exchange == exchange.group(1)]
        if not named:
            return
        entry = self._unconfirmed.pop(named[0])
        if entry.progression:
            return
        if entry.must_arrive or reason.code == ReplyCode.NOT_FOUND:
            # An exchange that is missing is declared again before anything is sent again.
            self._try_later(entry, str(reason))
        else:
            self._refuse(entry, f"The message {entry.routing_key} is refused: {reason}.")

    def _refuse(self, entry: _Entry, why: str) -> None:
        if entry.done is None:
            _log.warning("%s It is dropped.", why)
        elif not entry.done.done():
            entry.done.set_exception(MessageRefusedError(why))


def _exceeds(entry: _Entry, channel: AmqpChannel) -> bool:
    """Refuse a copy whose headers, with ours among them, do not fit into one frame: the broker would close the link."""
    if not _is_copy(entry) or channel.takes(entry.properties):
        return False
    if entry.done is not None and not entry.done.done():
        entry.done.set_exception(
            MessageRefusedError(
                f"The headers of the message {entry.routing_key} are {len(entry.properties.data)} bytes; expected what "
                "fits into one frame (frame_max of the broker). Send smaller headers."
            )
        )
    return True


def _finish(entry: _Entry, *, taken: bool) -> None:
    if entry.done is not None and not entry.done.done():
        entry.done.set_result(taken)


def _too_large_text(entry: _Entry, reason: AmqpClosed) -> str:
    remedy = "Send a smaller order." if _is_copy(entry) else "Write large results to a file and return its path."
    size_bytes = len(entry.content())
    return f"The message {entry.routing_key} is {size_bytes} bytes; expected what the broker takes ({reason}). {remedy}"


def _is_copy(entry: _Entry) -> bool:
    return isinstance(entry.properties, MessageProperties)


def _closed_text(entry: _Entry) -> str:
    closed = f"The exchange was closed before the broker confirmed {entry.routing_key}"
    return f"{closed}; its order was not settled and comes again."
