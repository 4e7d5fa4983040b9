"""
pika on asyncio's own transports.

pika's asyncio adapter registers with the event loop before each write and waits for the socket to say that it can be
written to. asyncio's transports write at once, which saves two system calls and a turn of the loop per message.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from pika.adapters.asyncio_connection import _AsyncioIOServicesAdapter  # type: ignore[import-untyped]

__all__ = ["LoopServices"]

#: The publisher bounds what is under way; a transport that paused its protocol would have nobody to tell.
UNBOUNDED_BYTES = 1 << 40


class _Stream(asyncio.Protocol):
    """Stands between asyncio's transport and pika's protocol; writes once per turn of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:
        self._loop = loop
        self._protocol = protocol
        self._transport: asyncio.Transport | None = None
        self._unwritten: list[bytes] = []

    # What pika calls

    def write(self, data: bytes) -> None:
        """Write at the end of this turn of the loop, together with what else is written in it."""
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(data)

    def abort(self) -> None:
        """Close without waiting; what was written leaves first as far as the socket takes it."""
        self._flush()
        if self._transport is not None:
            self._transport.abort()

    def get_protocol(self) -> Any:
        """Pika's side."""
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """How many bytes the socket has not taken yet."""
        unwritten = sum(len(data) for data in self._unwritten)
        return unwritten + (0 if self._transport is None else self._transport.get_write_buffer_size())

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce the two to each other."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=UNBOUNDED_BYTES)
        self._transport = transport
        self._protocol.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Hand over what arrived."""
        self._protocol.data_received(data)

    def eof_received(self) -> None:
        """Tell that the broker closed its side."""
        self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the end."""
        self._unwritten.clear()
        self._protocol.connection_lost(exc)

    def _flush(self) -> None:
        data, self._unwritten = b"".join(self._unwritten), []
        if data and self._transport is not None:
            self._transport.write(data)


class LoopServices(_AsyncioIOServicesAdapter):  # type: ignore[misc]
    """What pika asks of an event loop; streams are asyncio's own."""

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], Any],
        sock: socket.socket,
        on_done: Callable[[Any], None],
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> Any:
        """Make a stream of a connected socket, TLS included; ``on_done`` gets transport and protocol, or the error."""
        connecting = self._connect(protocol_factory, sock, ssl_context, server_hostname)
        return self._schedule_and_wrap_in_io_ref(connecting, on_done)

    async def _connect(
        self,
        protocol_factory: Callable[[], Any],
        sock: socket.socket,
        ssl_context: ssl.SSLContext | None,
        server_hostname: str | None,
    ) -> tuple[_Stream, Any]:
        loop = asyncio.get_running_loop()
        stream = _Stream(loop, protocol_factory())
        name = (server_hostname or "") if ssl_context is not None else None
        await loop.create_connection(lambda: stream, sock=sock, ssl=ssl_context, server_hostname=name)
        return stream, stream.get_protocol()
