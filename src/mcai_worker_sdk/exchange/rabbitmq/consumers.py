"""A lane: one queue on one channel with one consumer, prefetch 1. The job queue is one, the direct queue another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mcai_worker_sdk.exchange.rabbitmq.client import AmqpChannel, AmqpClosed, AmqpConnection, IncomingMessage
from mcai_worker_sdk.exchange.rabbitmq.counts import read_counts
from mcai_worker_sdk.exchange.rabbitmq.fields import MessageProperties
from mcai_worker_sdk.exchange.rabbitmq.topology import QueueSet, declare_queue_set
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol.delivery import Delivery, Lane

__all__ = ["ConsumerLane", "RabbitDelivery", "settle"]

_log = get_logger(__name__)

#: Orders in work at a time.
PREFETCH = 1


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RabbitDelivery(Delivery):
    """A delivery with what is needed to settle it, and to publish its copy."""

    tag: int
    channel: AmqpChannel
    """Where the tag is valid: the delivery's epoch."""
    properties: MessageProperties
    """The message's AMQP properties."""


class ConsumerLane:
    """One queue's consumer; starts anew on each connection."""

    def __init__(self, lane: Lane, *, consumer_tag: str, on_delivery: Callable[[RabbitDelivery], None]) -> None:
        """
        Args:
            lane: What its deliveries are.
            consumer_tag: The consumer's name at the broker.
            on_delivery: Called for each message, in the event loop's thread.
        """
        self._lane = lane
        self._consumer_tag = consumer_tag
        self._on_delivery = on_delivery
        self._channel: AmqpChannel | None = None
        self._queue_name = ""
        self._consuming = False
        self._lock = asyncio.Lock()
        self.lost: asyncio.Future[AmqpClosed] | None = None
        """Done, with the reason, when the lane delivers no more; ``None`` before the first start."""

    @property
    def channel(self) -> AmqpChannel | None:
        """The channel in use."""
        return self._channel

    async def start(self, connection: AmqpConnection, queue_set: QueueSet, *, vhost: str) -> None:
        """
        Open a channel and declare the queue; consuming waits for :meth:`consume`.

        Raises:
            MismatchError: The queue exists with other arguments.
            AmqpClosed: The broker refused for another reason, or the link is gone.
        """
        self._consuming = False
        channel = await connection.channel()
        await declare_queue_set(channel, queue_set, vhost=vhost)
        await channel.set_prefetch(PREFETCH)
        self._channel = channel
        self._queue_name = queue_set.queue.name
        self.lost = asyncio.get_running_loop().create_future()
        channel.closed.add_done_callback(lambda closed: self._on_lost(channel, closed.result()))
        channel.on_cancel(lambda: self._on_cancelled(channel))

    async def declare_again(self, queue_set: QueueSet, *, vhost: str) -> None:
        """
        Declare the queue and its bindings, if the lane has a channel.

        Raises:
            MismatchError: The queue exists with other arguments.
            AmqpClosed: The broker refused for another reason, or the link is gone.
        """
        channel = self._channel
        if channel is not None and channel.is_open:
            await declare_queue_set(channel, queue_set, vhost=vhost)

    async def consume(self) -> None:
        """
        Start to consume. Idempotent; does nothing while the link is down.

        Raises:
            AmqpClosed: The broker refused, or the link is gone.
        """
        async with self._lock:
            channel = self._channel
            if self._consuming or channel is None or not channel.is_open:
                return
            self._consuming = True
            await channel.consume(self._queue_name, self._consumer_tag, self._receive)

    async def pause(self) -> None:
        """Stop to consume; unsettled deliveries stay valid. Idempotent; does nothing while the link is down."""
        async with self._lock:
            channel = self._channel
            if not self._consuming or channel is None or not channel.is_open:
                return
            self._consuming = False
            try:
                await channel.cancel(self._consumer_tag)
            except AmqpClosed as closed:
                _log.debug("The consumer %s ended with its channel: %s", self._consumer_tag, closed)

    def _receive(self, message: IncomingMessage) -> None:
        if self._channel is None:
            return  # came in while its channel closes: the broker takes it back
        counts = read_counts(message.properties.headers, self._queue_name)
        self._on_delivery(
            RabbitDelivery(
                body=message.body,
                lane=self._lane,
                redelivered=message.redelivered,
                attempts=counts.attempts,
                soft_rejects=counts.soft_rejects,
                put_backs=counts.put_backs,
                returns=counts.returns,
                given_back=counts.given_back,
                tag=message.tag,
                channel=self._channel,
                properties=message.properties,
            )
        )

    def _on_cancelled(self, channel: AmqpChannel) -> None:
        # The queue is gone, or its node is. Closing the channel returns what is unsettled, wherever it still can.
        self._on_lost(channel, AmqpClosed(f"The broker cancelled the consumer of the queue {self._queue_name!r}."))
        channel.close()

    def _on_lost(self, channel: AmqpChannel, reason: AmqpClosed) -> None:
        if channel is self._channel and self.lost is not None and not self.lost.done():
            self._channel = None
            self._consuming = False
            self.lost.set_result(reason)


def settle(delivery: RabbitDelivery) -> None:
    """Acknowledge on the delivery's own channel; when that is gone, the broker has taken the message back."""
    if not delivery.channel.acknowledge(delivery.tag):
        _log.info(
            "The acknowledgement of delivery %d is dropped: its channel is gone, and the broker delivers it again.",
            delivery.tag,
        )
