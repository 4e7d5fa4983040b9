"""
TCP and TLS for the AMQP client: asyncio's own transports under pika's connection.

pika has connecting code of its own, which leaves sockets open when it is broken off, and an adapter that waits a turn
of the loop for each write. Both are left aside: a connection attempt is one coroutine here, and ends as coroutines do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Endpoint", "Stream", "StreamUser", "open_stream"]

#: The publisher bounds what is under way; a transport that paused its protocol would have nobody to tell.
UNBOUNDED_BYTES = 1 << 40


class StreamUser(Protocol):
    """Who speaks over a stream: pika's connection, by the names pika gives these calls."""

    def _proto_connection_made(self, transport: Stream) -> None: ...

    def _proto_data_received(self, data: bytes) -> None: ...

    def _proto_eof_received(self) -> bool: ...

    def _proto_connection_lost(self, error: BaseException | None) -> None: ...

    def fail(self, error: Exception) -> None:
        """One of the other calls raised."""


class Stream(asyncio.Protocol):
    """
    Stands between asyncio's transport and pika's connection; writes once per turn of the loop.

    An exception out of pika's connection ends the stream. Event loops differ in what they do about it, and one that
    only logs it would leave a connection that nobody serves.
    """

    def __init__(self, user: StreamUser) -> None:
        self._loop = asyncio.get_running_loop()
        self._user = user
        self._transport: asyncio.Transport | None = None
        self._unwritten: list[bytes] = []
        self._early: list[bytes] = []
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done once the socket is closed."""

    def begin(self, transport: asyncio.Transport) -> None:
        """
        The way is open, TLS included: let the two speak.

        Raises:
            ConnectionResetError: It was closed meanwhile.
        """
        if self.closed.done():
            raise ConnectionResetError("The connection was closed before anything was said.")
        transport.set_write_buffer_limits(high=UNBOUNDED_BYTES)
        self._transport = transport
        self._call(self._user._proto_connection_made, self)
        for data in self._early:
            self.data_received(data)
        self._early.clear()

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

    def get_write_buffer_size(self) -> int:
        """How many bytes the socket has not taken yet."""
        unwritten = sum(len(data) for data in self._unwritten)
        return unwritten + (0 if self._transport is None else self._transport.get_write_buffer_size())

    # What asyncio calls

    def data_received(self, data: bytes) -> None:
        """Hand over what arrived; a broker waits to be spoken to, but not all that listens is one."""
        if self._transport is None:
            self._early.append(data)
        else:
            self._call(self._user._proto_data_received, data)

    def eof_received(self) -> None:
        """Tell that the broker closed its side; the transport closes the other one."""
        if self._transport is not None:
            self._call(self._user._proto_eof_received)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the end."""
        self.closed.set_result(None)
        self._unwritten.clear()
        if self._transport is not None:
            self._call(self._user._proto_connection_lost, exc)

    def _call(self, method: Callable[..., object], *arguments: Any) -> None:
        try:
            method(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, this connection cannot go on
            self._user.fail(error)
            self.abort()

    def _flush(self) -> None:
        data, self._unwritten = b"".join(self._unwritten), []
        if data and self._transport is not None:
            self._transport.write(data)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect to, and how."""

    host: str
    """Name or address."""
    port: int
    tls: ssl.SSLContext | None
    """TLS, or ``None`` for none."""
    server_hostname: str | None
    """What the server's certificate must be for."""
    timeout_seconds: float
    """Longest wait for TCP, for each address of the host."""


async def open_stream(user: StreamUser, endpoint: Endpoint) -> Stream:
    """
    Connect to a host, and begin to speak.

    Each address of the host is tried in turn. An attempt that fails or is cancelled leaves nothing open.

    Args:
        user: Who speaks.
        endpoint: Where.

    Raises:
        OSError: No address could be connected to; of several reasons the one that came furthest.
    """
    errors: list[OSError] = []
    for family, kind, protocol, _, address in await _resolve(endpoint.host, endpoint.port):
        sock = socket.socket(family, kind, protocol)
        try:
            return await _open_socket(user, sock, address, endpoint)
        except OSError as error:
            errors.append(error)
    raise max(errors, key=_progress_of)


async def _resolve(host: str, port: int) -> list[Any]:
    try:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        # Python refuses what cannot be a name (two dots in a row) before it asks the system.
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error


async def _open_socket(user: StreamUser, sock: socket.socket, address: Any, endpoint: Endpoint) -> Stream:
    loop = asyncio.get_running_loop()
    stream = Stream(user)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(endpoint.timeout_seconds):
            await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    async with _closed_on_failure(sock):
        transport, _ = await loop.create_connection(lambda: stream, sock=sock)
        if endpoint.tls is not None:
            transport = await _secure(transport, stream, endpoint.tls, endpoint.server_hostname)
        stream.begin(transport)
        return stream


async def _secure(
    transport: asyncio.Transport, stream: Stream, tls: ssl.SSLContext, server_hostname: str | None
) -> asyncio.Transport:
    """TLS on an open connection. ``create_connection`` can do both, but cancelled in the wrong turn it goes on."""
    try:
        secured = await asyncio.get_running_loop().start_tls(transport, stream, tls, server_hostname=server_hostname)
    except BaseException:
        transport.abort()
        raise
    if secured is None:
        raise ConnectionResetError("The connection was closed in the TLS handshake.")
    return secured


@contextlib.asynccontextmanager
async def _closed_on_failure(sock: socket.socket) -> AsyncIterator[None]:
    """A transport closes its socket in a later turn of the loop: wait for that, so that a failure leaves none open."""
    try:
        yield
    except BaseException:
        while sock.fileno() >= 0:  # noqa: ASYNC110 - a socket tells nobody that it is closed
            await asyncio.sleep(0)
        raise


def _progress_of(error: OSError) -> int:
    """How far an attempt came: to TLS, to a host that did not answer, or nowhere."""
    if isinstance(error, ssl.SSLError):
        return 2
    return 1 if isinstance(error, TimeoutError) else 0
