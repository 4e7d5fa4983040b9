"""
One HTTP/1.1 connection: h11 reads and writes the protocol, asyncio's streams carry it.

Loaded with the first request, not before: a job whose credentials all come from the environment never pays for h11.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import ssl
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from string import punctuation
from typing import Self
from urllib.parse import SplitResult, quote

import h11

from mcai_worker_sdk.settings import Proxy

__all__ = ["HttpConnection", "TunnelError", "make_request"]

_DEFAULT_PORTS = {"http": 80, "https": 443}

_USER_AGENT = "mcai-worker-sdk"

#: Longest head of an answer, and longest line between its chunks, bytes.
_MAX_HEAD_BYTES = 2**16

_READ_BYTES = 2**16

#: Pause before the next of a host's addresses is tried beside the first: what RFC 8305 recommends.
_NEXT_ADDRESS_SECONDS = 0.25


class TunnelError(OSError):
    """
    Raised when a proxy gives no way through to a server.

    Args:
        status: What it answered.
    """

    def __init__(self, status: int) -> None:
        super().__init__(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        self.status = status


class HttpConnection:
    """A connection to one server, for one request after another; :meth:`open` makes it. Belongs to one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._has_answer = False

    @classmethod
    async def open(cls, address: SplitResult, context: ssl.SSLContext | None, proxy: Proxy | None = None) -> Self:
        """
        Connect to the host and port of ``address``.

        Args:
            address: ``http://`` or ``https://`` address.
            context: How to verify whoever is reached by TLS, the server or the proxy; ``None`` where nobody is.
            proxy: Where to connect instead; an ``https://`` address is reached through a tunnel, so that the proxy
                sees neither requests nor answers.

        Raises:
            OSError: There is no connection; :class:`ssl.SSLError` when there is one that cannot be trusted, and
                :class:`TunnelError` when the proxy refuses.
            ValueError: The address is malformed.
        """
        host, port, scheme = address.hostname or "", _port(address), address.scheme
        if proxy is not None:
            host, port, scheme = proxy.host, proxy.port, proxy.scheme
        is_tls = scheme == "https"
        reader, writer = await asyncio.open_connection(
            host,
            port,
            ssl=context if is_tls else None,
            server_hostname=_certified_name(host) if is_tls else None,
            happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
        )
        if proxy is not None and address.scheme == "https":
            try:
                await cls(reader, writer)._open_tunnel(address, context, proxy)
            except BaseException:
                writer.transport.abort()
                raise
        return cls(reader, writer)

    async def _open_tunnel(self, address: SplitResult, context: ssl.SSLContext | None, proxy: Proxy) -> None:
        """Have the proxy connect to the server, then speak TLS to the server."""
        host = _host(address)
        target = host if host.endswith(f":{_port(address)}") else f"{host}:{_port(address)}"
        lines = [("Host", target), ("User-Agent", _USER_AGENT), *_authorization(proxy)]
        response = await self.send(h11.Request(method="CONNECT", target=target, headers=_encoded(lines)), b"")
        if response.status_code not in range(HTTPStatus.OK, HTTPStatus.MULTIPLE_CHOICES):
            raise TunnelError(response.status_code)
        assert context is not None
        await self._writer.start_tls(context, server_hostname=_certified_name(address.hostname or ""))

    @property
    def is_unanswered(self) -> bool:
        """Whether the last request has got no byte of an answer yet."""
        return not self._has_answer

    async def is_quiet(self) -> bool:
        """Whether the peer neither closed the idle connection nor sent something nobody asked for."""
        try:
            async with asyncio.timeout(0):
                await self._reader.read(1)
        except TimeoutError:
            return not self._writer.is_closing()
        except OSError:
            return False
        return False

    async def send(self, request: h11.Request, body: bytes) -> h11.Response:
        """
        Send a request, and await the head of its answer.

        Raises:
            OSError: The connection ended early, or what came is not HTTP.
        """
        self._has_answer = False
        events = [request, h11.Data(data=body), h11.EndOfMessage()]
        self._writer.write(b"".join(self._protocol.send(event) or b"" for event in events))
        await self._writer.drain()
        event = await self._next_event()
        while not isinstance(event, h11.Response):  # 1xx goes before it
            event = await self._next_event()
        return event

    async def read(self) -> bytes:
        """
        The next part of the answer's body, empty at its end.

        Raises:
            OSError: The connection ended early, or what came is not HTTP.
        """
        event = await self._next_event()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    def finish(self) -> bool:
        """
        End the exchange, without waiting for what is still to come.

        Returns:
            Whether the connection is ready for another request.
        """
        try:
            while self._protocol.their_state is h11.SEND_BODY and self._protocol.next_event() is not h11.NEED_DATA:
                pass
            self._protocol.start_next_cycle()
        except h11.ProtocolError:
            return False
        surplus, _ = self._protocol.trailing_data
        return not surplus and not self._writer.is_closing()

    def close(self) -> None:
        """Close the connection at once. Idempotent."""
        self._writer.transport.abort()

    async def _next_event(self) -> object:
        data: bytes | None = None
        try:
            while (event := self._protocol.next_event()) is h11.NEED_DATA:
                data = await self._reader.read(_READ_BYTES)
                self._has_answer = self._has_answer or bool(data)
                self._protocol.receive_data(data)
        except h11.RemoteProtocolError:
            # Its text can quote the answer, and the answer can hold a secret.
            number = errno.ECONNRESET if data == b"" else errno.EPROTO
            raise OSError(number, os.strerror(number)) from None
        return event


def make_request(
    method: str,
    address: SplitResult,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    proxy: Proxy | None = None,
) -> h11.Request:
    """
    The head of a request.

    Args:
        method: ``GET``, ``POST``, ...
        address: The base URL.
        path: Appended to the path of ``address``.
        headers: Headers besides ``Host`` and those of the body.
        body: The JSON that follows, if any.
        proxy: What the request is sent to, if not to the server itself. It sees only ``http://`` requests.

    Raises:
        ValueError: Something in it is what HTTP cannot carry. The text holds none of it.
    """
    lines = [("Host", _host(address)), ("User-Agent", _USER_AGENT), ("Accept-Encoding", "identity")]
    lines += [(name, value.strip(" \t")) for name, value in headers.items()]
    if body is not None:
        lines += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    target = quote(address.path + path, safe=punctuation)
    if proxy is not None and address.scheme == "http":
        target = f"http://{_host(address)}{target}"
        lines += _authorization(proxy)
    try:
        return h11.Request(method=method, target=target, headers=_encoded(lines))
    except h11.LocalProtocolError:
        raise ValueError("the request is malformed") from None


def _authorization(proxy: Proxy) -> list[tuple[str, str]]:
    if proxy.username is None:
        return []
    login = f"{proxy.username}:{proxy.password or ''}".encode()
    return [("Proxy-Authorization", f"Basic {base64.b64encode(login).decode()}")]


def _certified_name(host: str) -> str:
    return host.rstrip(".")  # certificates name no root


def _encoded(lines: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in lines]


def _port(address: SplitResult) -> int:
    return _DEFAULT_PORTS[address.scheme] if address.port is None else address.port


def _host(address: SplitResult) -> str:
    host = address.hostname or ""
    if not host:
        raise ValueError("the address has no host")
    if not host.isascii():
        host = host.encode("idna").decode()
    if ":" in host:
        host = f"[{host}]"
    port = _port(address)
    return host if port == _DEFAULT_PORTS[address.scheme] else f"{host}:{port}"
