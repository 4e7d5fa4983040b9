"""An HTTP proxy that forwards: requests for ``http://`` addresses, and tunnels."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

__all__ = ["ForwardingProxy", "forwarding_proxy"]


class ForwardingProxy:
    """
    Forwards what it is asked for, and keeps what it was asked.

    Args:
        refusal: Answer with this status line instead, such as ``407 Proxy Authentication Required``.
    """

    def __init__(self, refusal: str | None = None) -> None:
        self.port = 0
        self.heads: list[list[str]] = []
        """The lines of each head that came, without the empty one."""
        self._refusal = refusal
        self._writers: list[asyncio.StreamWriter] = []
        self._ended: list[asyncio.Event] = []

    @property
    def requests(self) -> list[str]:
        """Method and target of each request that came."""
        return [head[0].removesuffix(" HTTP/1.1") for head in self.heads]

    def header(self, name: str, index: int = -1) -> str | None:
        """The value of a header of one request."""
        found = (line.partition(": ")[2] for line in self.heads[index][1:] if line.lower().startswith(f"{name}: "))
        return next(found, None)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self._writers.append(writer)
        self._ended.append(ended := asyncio.Event())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ExceptionGroup):
            await self._forward(reader, writer)
        writer.transport.abort()
        ended.set()

    async def close(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()
        for ended in self._ended:
            await ended.wait()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head.strip().split("\r\n"))
        method, target, _ = self.heads[-1][0].split(" ")
        if self._refusal is not None:
            writer.write(f"HTTP/1.1 {self._refusal}\r\nContent-Length: 0\r\n\r\n".encode())
            return await writer.drain()
        is_tunnel = method == "CONNECT"
        server = urlsplit(f"//{target}" if is_tunnel else target)
        upstream_reader, upstream = await asyncio.open_connection(server.hostname, server.port)
        self._writers.append(upstream)
        if is_tunnel:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            # One request for each connection: what follows on it would not be read here.
            own = head.replace(f"http://{server.netloc}", "", 1).replace("\r\n", "\r\nConnection: close\r\n", 1)
            upstream.write(own.encode())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, upstream))
                group.create_task(_copy(upstream_reader, writer))
        finally:
            upstream.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@contextlib.asynccontextmanager
async def forwarding_proxy(
    *, refusal: str | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ForwardingProxy]:
    """A proxy on a free port of 127.0.0.1."""
    proxy = ForwardingProxy(refusal)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
