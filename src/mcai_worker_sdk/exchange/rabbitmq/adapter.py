"""What of pika is done otherwise here; its reasons stand in ``docs/explanation/amqp-client.md``."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import pika  # type: ignore[import-untyped]
import pika.channel  # type: ignore[import-untyped]
import pika.exceptions  # type: ignore[import-untyped]
import pika.frame  # type: ignore[import-untyped]
from pika.adapters.asyncio_connection import (  # type: ignore[import-untyped]
    AsyncioConnection,
    _AsyncioIOServicesAdapter,
)

from mcai_worker_sdk.exchange.rabbitmq.fields import FieldTable, MessageProperties
from mcai_worker_sdk.logs import get_logger

__all__ = ["PikaConnection", "TuningError", "server_version"]

_log = get_logger(__name__)
#: Every failure of the client reaches us as an exception and is logged once, by us, in our words.
logging.getLogger("pika").setLevel(logging.CRITICAL + 1)

#: The smallest frames RabbitMQ works with from 4.1 on; AMQP has half of it.
RABBITMQ_FRAME_MIN_BYTES = 8192
#: Type, channel and size of the payload; before each payload, which an end octet follows.
_FRAME_HEADER = struct.Struct(">BHI")
#: Class, weight and size of the body; before the properties of a content header.
_CONTENT_HEADER = struct.Struct(">HHQ")
#: Class, method, and the versions; before the server's properties in ``connection.start``.
_START = struct.Struct(">HHBB")
_LENGTH = struct.Struct(">I")
_START_METHOD = _LENGTH.pack(pika.spec.Connection.Start.INDEX)
_FRAMES_WITH_TABLES = frozenset({pika.spec.FRAME_HEADER, pika.spec.FRAME_METHOD})


class ClientFaultError(Exception):
    """Raised for whoever uses a connection in which the client itself failed."""


class TuningError(Exception):
    """Raised when the broker's limits for a connection leave no room for a worker."""


class _Channel(pika.channel.Channel):  # type: ignore[misc]
    def _on_deliver(self, method_frame: Any, header_frame: Any, body: bytes) -> None:
        """
        Hand every delivery over, also between ``basic.cancel`` and its answer.

        pika rejects those to the queue, where they would come back marked as redelivered and be counted as an attempt.
        """
        method = method_frame.method
        consumer = self._consumers.get(method.consumer_tag)
        if consumer is not None:
            consumer(self, method, header_frame.properties, body)


class PikaConnection(AsyncioConnection):  # type: ignore[misc]
    """
    pika's connection, on a stream of ours.

    It is at once the user of a :class:`~mcai_worker_sdk.exchange.rabbitmq.transport.Stream`.
    """

    def __init__(self, parameters: Any, on_open: Callable[[], None], on_end: Callable[[BaseException], None]) -> None:
        """
        Args:
            parameters: pika's ``ConnectionParameters``.
            on_open: Called once the virtual host is open.
            on_end: Called once the connection has ended, or could not be opened.
        """
        self._on_end = on_end
        self.refusal: pika.exceptions.ConnectionClosedByBroker | None = None
        """What the broker said when it closed the connection."""

        def ended(_connection: Any, error: BaseException) -> None:
            on_end(self.refusal or error)

        super().__init__(
            parameters,
            lambda _connection: on_open(),
            ended,
            ended,
            _LoopServices(asyncio.get_running_loop(), self.fail),
            internal_connection_workflow=False,
        )

    def fail(self, error: Exception) -> None:
        """Something that a callback did raised: the connection ends, whatever state it is in."""
        _log.error("The AMQP client failed; its connection is dropped.", exc_info=error)
        self._on_end(ClientFaultError(f"The AMQP client failed: {error!r}"))
        with contextlib.suppress(Exception):  # What failed may fail again; the stream is dropped all the same.
            self.abort("The AMQP client failed.")

    def abort(self, reason: str) -> None:
        """Drop the socket without a farewell."""
        if self._transport is not None and not self.is_closed:
            self._terminate_stream(pika.exceptions.StreamLostError(reason))

    def _create_channel(self, channel_number: int, on_open_callback: Callable[..., Any]) -> _Channel:
        return _Channel(self, channel_number, on_open_callback)

    def _on_connection_close_from_broker(self, method_frame: Any) -> None:
        """Keep the broker's words: pika puts a guess in their place while the connection is not open."""
        method = method_frame.method
        self.refusal = pika.exceptions.ConnectionClosedByBroker(method.reply_code, method.reply_text)
        super()._on_connection_close_from_broker(method_frame)

    def _on_connection_tune(self, method_frame: Any) -> None:
        """Name a frame size that cannot be used: pika raises in its handshake, RabbitMQ hangs up without a word."""
        frame_max = method_frame.method.frame_max
        version = server_version(self.server_properties or {})
        least = RABBITMQ_FRAME_MIN_BYTES if version >= (4, 1) else pika.spec.FRAME_MIN_SIZE
        if 0 < frame_max < least:
            self._on_end(TuningError(f"its frame_max is {frame_max} bytes; expected at least {least}"))
            self.abort("The connection cannot be tuned.")
        else:
            super()._on_connection_tune(method_frame)

    def _read_frame(self) -> tuple[int, Any]:
        """Read what holds a field table here, and leave all else to pika."""
        buffer = self._frame_buffer
        if len(buffer) < _FRAME_HEADER.size:
            return 0, None
        kind, channel, size = _FRAME_HEADER.unpack_from(buffer)
        end = _FRAME_HEADER.size + size
        if kind not in _FRAMES_WITH_TABLES or len(buffer) <= end or buffer[end] != pika.spec.FRAME_END:
            return self._read_by_pika()
        payload = buffer[_FRAME_HEADER.size : end]
        if kind == pika.spec.FRAME_HEADER and size >= _CONTENT_HEADER.size:
            _, _, body_size = _CONTENT_HEADER.unpack_from(payload)
            properties = MessageProperties(payload[_CONTENT_HEADER.size :])
            return end + 1, pika.frame.Header(channel, body_size, properties)
        if kind == pika.spec.FRAME_METHOD and payload[: _LENGTH.size] == _START_METHOD:
            return end + 1, pika.frame.Method(channel, _read_start(payload))
        return self._read_by_pika()

    def _read_by_pika(self) -> tuple[int, Any]:
        frame: tuple[int, Any] = super()._read_frame()
        return frame


def _read_start(payload: bytes) -> pika.spec.Connection.Start:
    _, _, major, minor = _START.unpack_from(payload)
    texts = []
    offset = _START.size
    for _ in range(3):
        (length,) = _LENGTH.unpack_from(payload, offset)
        offset += _LENGTH.size
        texts.append(payload[offset : offset + length])
        offset += length
    table, mechanisms, locales = texts
    properties = dict(FieldTable(table))
    said = properties.get("capabilities")
    # What a worker needs is asked for, whatever the broker says of itself: it may have said it where nothing is read.
    needed = {"publisher_confirms": True, "basic.nack": True}
    properties["capabilities"] = {**(said if isinstance(said, dict) else {}), **needed}
    return pika.spec.Connection.Start(major, minor, properties, mechanisms, locales)


def server_version(properties: Mapping[str, Any]) -> tuple[int, ...]:
    """The broker's version as numbers (``4.3.0-rc.1`` is (4, 3, 0)); (0,) when it does not say."""
    numbers = re.match(r"\d+(?:\.\d+)*", str(properties.get("version", "")))
    return tuple(int(number) for number in numbers.group().split(".")) if numbers else (0,)


class _LoopServices(_AsyncioIOServicesAdapter):  # type: ignore[misc]
    """What pika asks of an event loop; a timer that raises ends its connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_fault: Callable[[Exception], None]) -> None:
        super().__init__(loop)
        self._on_fault = on_fault

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        """Call back after so many seconds."""
        return super().call_later(delay, functools.partial(self._call, callback))

    def add_callback_threadsafe(self, callback: Callable[[], None]) -> None:
        """Call back in the next turn of the loop."""
        super().add_callback_threadsafe(functools.partial(self._call, callback))

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection cannot go on
            self._on_fault(error)
