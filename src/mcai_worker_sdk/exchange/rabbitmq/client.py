"""
The AMQP client: pika's asyncio adapter as connections and channels one can await.

Everything here belongs to the event loop's thread. Writing (publish, ack) never waits: frames go whole into the
client's buffer in the order of the calls, so that no cancellation can tear one apart.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import pika  # type: ignore[import-untyped]
import pika.exceptions  # type: ignore[import-untyped]

from mcai_worker_sdk.exchange.rabbitmq.adapter import PikaConnection, TuningError, server_version
from mcai_worker_sdk.exchange.rabbitmq.fields import MessageProperties
from mcai_worker_sdk.exchange.rabbitmq.transport import Endpoint, Stream, open_stream

__all__ = ["AmqpChannel", "AmqpClosed", "AmqpConnection", "IncomingMessage"]

#: Longest wait for the answer to a declaration, a consume, a cancel: a cluster without a majority answers late.
RPC_TIMEOUT_SECONDS = 15.0
#: Channels of a worker: publishing, jobs, direct messages.
CHANNELS = 3
#: A content header's frame without the properties: the frame's own eight bytes, class, weight and size of the body.
CONTENT_HEADER_BYTES = 20
#: A healthy broker sends something every half heartbeat; silence of this many heartbeats means the link is half-open.
SILENT_HEARTBEATS = 1.5
#: How often the silence is measured, in heartbeats.
SILENCE_CHECK_HEARTBEATS = 0.25


class AmqpClosed(Exception):  # noqa: N818 - a fact, raised where somebody waits; it becomes an ExchangeError at the port
    """
    A connection or channel is closed.

    Args:
        reason: Why, in words that may be shown.
        code: AMQP reply code (406, 541, ...) when the broker gave one.
    """

    def __init__(self, reason: str, *, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True, eq=False)
class IncomingMessage:
    """One ``basic.deliver`` with its content."""

    tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: MessageProperties
    body: bytes


OnMessage: TypeAlias = Callable[[IncomingMessage], None]
OnConfirm: TypeAlias = Callable[[int, bool, bool], None]
OnReturn: TypeAlias = Callable[[str, str, bytes, str], None]


class AmqpChannel:
    """One channel. Its identity is an epoch: delivery tags mean nothing on another one."""

    def __init__(self, channel: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._channel = channel
        self._loop = loop
        self._unsettled: set[int] = set()
        self.closed: asyncio.Future[AmqpClosed] = loop.create_future()
        """Done, with the reason, once the channel is closed, by whomever."""
        channel.add_on_close_callback(self._on_close)

    @property
    def is_open(self) -> bool:
        """True while frames can be sent."""
        return not self.closed.done() and bool(self._channel.is_open)

    async def confirm(self, on_confirm: OnConfirm, on_return: OnReturn) -> None:
        """
        Turn publisher confirms on.

        Args:
            on_confirm: Called with delivery tag, ``multiple``, and True for ack, False for nack.
            on_return: Called with exchange, routing key, body and reason of an unroutable mandatory message,
                before its confirmation.
        """

        def confirmed(frame: Any) -> None:
            method = frame.method
            on_confirm(method.delivery_tag, method.multiple, isinstance(method, pika.spec.Basic.Ack))

        def returned(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            on_return(method.exchange, method.routing_key, body, method.reply_text)

        self._channel.add_on_return_callback(returned)
        await self._call(partial(self._channel.confirm_delivery, confirmed))

    async def declare_exchange(self, name: str, kind: str, *, durable: bool, arguments: Mapping[str, Any]) -> None:
        """Declare an exchange."""
        declare = partial(self._channel.exchange_declare, name, kind, durable=durable, arguments=dict(arguments))
        await self._call(declare)

    async def declare_queue(
        self, name: str, *, durable: bool, exclusive: bool, auto_delete: bool, arguments: Mapping[str, Any]
    ) -> None:
        """Declare a queue."""
        await self._call(
            partial(
                self._channel.queue_declare,
                name,
                durable=durable,
                exclusive=exclusive,
                auto_delete=auto_delete,
                arguments=dict(arguments),
            )
        )

    async def bind_queue(self, queue: str, exchange: str, routing_key: str, arguments: Mapping[str, Any]) -> None:
        """Bind a queue to an exchange."""
        await self._call(partial(self._channel.queue_bind, queue, exchange, routing_key, arguments=dict(arguments)))

    async def delete_queue(self, name: str) -> None:
        """Delete a queue."""
        await self._call(partial(self._channel.queue_delete, name))

    async def set_prefetch(self, count: int) -> None:
        """Limit the unsettled messages of each consumer started from now on."""
        await self._call(partial(self._channel.basic_qos, prefetch_count=count))

    async def consume(self, queue: str, consumer_tag: str, on_message: OnMessage) -> None:
        """Start a consumer with manual acknowledgement."""

        def deliver(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
            tag = method.delivery_tag
            self._unsettled.add(tag)
            on_message(IncomingMessage(tag, method.redelivered, method.exchange, method.routing_key, properties, body))

        await self._call(partial(self._channel.basic_consume, queue, deliver, consumer_tag=consumer_tag))

    async def cancel(self, consumer_tag: str) -> None:
        """Stop a consumer; a message on its way is still delivered."""
        await self._call(partial(self._channel.basic_cancel, consumer_tag))

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call back when the broker cancels a consumer of this channel (its queue is gone)."""
        self._channel.add_on_cancel_callback(lambda _frame: callback())

    def publish(self, exchange: str, routing_key: str, body: bytes, properties: Any, *, mandatory: bool) -> None:
        """Send one message; its confirmation is the next tag."""
        self._channel.basic_publish(exchange, routing_key, body, properties, mandatory)

    def takes(self, properties: MessageProperties) -> bool:
        """Whether properties fit into a frame: a content header cannot be cut."""
        frame_max: int = self._channel.connection.params.frame_max
        return len(properties.data) <= frame_max - CONTENT_HEADER_BYTES

    def acknowledge(self, tag: int) -> bool:
        """Acknowledge; False when the tag is not, or no longer, open on this channel."""
        if not self._take(tag):
            return False
        self._channel.basic_ack(tag)
        return True

    def close(self) -> None:
        """Begin to close; :attr:`closed` tells the end. Unsettled messages go back to their queue."""
        if self.is_open:
            self._channel.close()

    def _take(self, tag: int) -> bool:
        if tag not in self._unsettled or not self.is_open:
            return False
        self._unsettled.discard(tag)
        return True

    def _on_close(self, _channel: Any, reason: Exception) -> None:
        if not self.closed.done():
            self.closed.set_result(_as_closed(reason))

    async def _call(self, method: Callable[..., Any]) -> Any:
        """Send a request and wait for its answer; raises :class:`AmqpClosed` when the channel closes instead."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        try:
            method(callback=partial(_resolve, answer))
        except (pika.exceptions.AMQPError, UnicodeError, struct.error) as error:
            # The channel is closed; or what is asked for cannot be written, a name that is no text, too large a number.
            raise self.closed.result() if self.closed.done() else _as_closed(error) from error
        return await _first(answer, self.closed)


class AmqpConnection:
    """One open connection."""

    def __init__(
        self, connection: PikaConnection, closed: asyncio.Future[AmqpClosed], heartbeat_seconds: float
    ) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._bytes_seen = -1
        self._last_heard = self._loop.time()
        self._heartbeat_seconds = heartbeat_seconds
        self.closed = closed
        """Done, with the reason, once the connection is closed, by whomever."""
        if heartbeat_seconds > 0:
            self._measure_silence()

    @classmethod
    async def open(cls, parameters: Any, *, heartbeat_seconds: float) -> AmqpConnection:
        """
        Connect, authenticate and open the virtual host. One that fails or is cancelled leaves nothing open.

        Args:
            parameters: pika's ``ConnectionParameters``; its ``stack_timeout`` bounds all of it.
            heartbeat_seconds: Heartbeat; 0 for none.

        Raises:
            AmqpClosed: It did not succeed; the cause is the ``OSError``, or pika's exception.
        """
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        closed: asyncio.Future[AmqpClosed] = loop.create_future()
        connection = PikaConnection(
            parameters,
            lambda: _resolve(opened, None),
            lambda error: _resolve(closed, _as_closed(error)),
        )
        stream: Stream | None = None
        try:
            async with asyncio.timeout(parameters.stack_timeout):
                stream = await open_stream(connection, _endpoint(parameters))
                ends: set[asyncio.Future[Any]] = {opened, closed}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not closed.done():
                return cls(connection, closed, heartbeat_seconds)
        except OSError as error:
            _resolve(closed, _as_closed(error))
        except asyncio.CancelledError:
            await _drop(stream)
            raise
        await _drop(stream)
        raise closed.result()

    @property
    def is_open(self) -> bool:
        """True while channels can be used."""
        return not self.closed.done() and bool(self._connection.is_open)

    @property
    def server_properties(self) -> Mapping[str, Any]:
        """What the broker said about itself (``product``, ``version``, ...)."""
        properties: Mapping[str, Any] = self._connection.server_properties or {}
        return properties

    @property
    def server_version(self) -> tuple[int, ...]:
        """The broker's version as numbers; (0,) when it does not say."""
        return server_version(self.server_properties)

    async def channel(self) -> AmqpChannel:
        """
        Open a channel.

        Raises:
            AmqpClosed: The connection is closed, or has no room for another channel.
        """
        if not self.is_open:
            raise self.closed.result() if self.closed.done() else AmqpClosed("The connection is closing.")
        opened: asyncio.Future[Any] = self._loop.create_future()
        try:
            channel = AmqpChannel(self._connection.channel(on_open_callback=partial(_resolve, opened)), self._loop)
        except pika.exceptions.NoFreeChannels:
            most = self._connection.params.channel_max
            tuning = TuningError(f"its channel_max is {most} channels for each connection; a worker needs {CHANNELS}")
            raise _as_closed(tuning) from tuning
        await _first(opened, channel.closed)
        return channel

    def on_blocked(self, callback: Callable[[bool, str], None]) -> None:
        """Call back with True and the reason when the broker stops taking messages, with False when it goes on."""

        def blocked(_connection: Any, frame: Any) -> None:
            callback(True, str(frame.method.reason))

        def unblocked(_connection: Any, _frame: Any) -> None:
            callback(False, "")

        self._connection.add_on_connection_blocked_callback(blocked)
        self._connection.add_on_connection_unblocked_callback(unblocked)

    async def close(self, timeout_seconds: float) -> None:
        """Close in good order; when the broker does not answer in time, drop the socket."""
        if self.is_open:
            self._connection.close()
        await asyncio.wait({self.closed}, timeout=timeout_seconds)
        await self.drop("The broker did not answer the close in time.")

    def abort(self, reason: str) -> None:
        """Drop the connection without a farewell; :attr:`closed` follows."""
        self._connection.abort(reason)

    async def drop(self, reason: str) -> None:
        """Drop the connection without a farewell, and wait until it is closed."""
        self.abort(reason)
        await asyncio.wait({self.closed})

    def _measure_silence(self) -> None:
        if self.closed.done():
            return
        now = self._loop.time()
        received = self._connection.bytes_received
        if received != self._bytes_seen:
            self._bytes_seen, self._last_heard = received, now
        elif now - self._last_heard > self._heartbeat_seconds * SILENT_HEARTBEATS:
            silent = now - self._last_heard
            self.abort(f"The broker has been silent for {silent:.0f} s (heartbeat {self._heartbeat_seconds:.0f} s).")
            return
        self._loop.call_later(self._heartbeat_seconds * SILENCE_CHECK_HEARTBEATS, self._measure_silence)


def _endpoint(parameters: Any) -> Endpoint:
    tls = parameters.ssl_options
    return Endpoint(
        parameters.host,
        parameters.port,
        tls=tls and tls.context,
        server_hostname=tls and tls.server_hostname,
        timeout_seconds=parameters.socket_timeout,
    )


async def _drop(stream: Stream | None) -> None:
    """Close the socket, and wait until it is."""
    if stream is not None:
        stream.abort()
        await stream.closed


async def _first(answer: asyncio.Future[Any], closed: asyncio.Future[AmqpClosed]) -> Any:
    """Wait for an answer, the end of what it was asked of, or a time-out."""
    await asyncio.wait({answer, closed}, timeout=RPC_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if answer.done():
        return answer.result()
    answer.cancel()
    if closed.done():
        raise closed.result()
    raise AmqpClosed(f"The broker did not answer within {RPC_TIMEOUT_SECONDS:.0f} s.")


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _as_closed(error: BaseException) -> AmqpClosed:
    code, text = getattr(error, "reply_code", None), getattr(error, "reply_text", None)
    if isinstance(text, bytes):
        # RabbitMQ cuts a text at 255 bytes, where a letter may take two: then pika leaves it undecoded.
        text = text.decode(errors="ignore")
    closed = AmqpClosed(f"{code} {text}" if text else (str(error) or type(error).__name__), code=code)
    closed.__cause__ = error
    return closed
