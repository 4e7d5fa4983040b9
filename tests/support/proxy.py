"""A TCP proxy in the test's own event loop: cuts links, freezes them half-open, and can end TLS in front of a port."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

__all__ = ["TcpProxy"]

CHUNK_BYTES = 65536


class TcpProxy:
    """
    Forwards connections of a free loopback port to another port of 127.0.0.1.

    Use it as an async context manager; ``port`` is set inside.
    """

    def __init__(self, target_port: int, *, tls: ssl.SSLContext | None = None) -> None:
        """
        Args:
            target_port: Where connections go.
            tls: Server side of TLS towards the client; the target is reached without.
        """
        self.port = 0
        self.accepted = 0
        """Connections taken so far."""
        self._target_port = target_port
        self._tls = tls
        self._refusing = False
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection, and every new one, until :meth:`resume`."""
        self._refusing = True
        for writer in list(self._writers):
            writer.transport.abort()

    def cut_once(self) -> None:
        """Reset the connections that are there; new ones are forwarded."""
        self.cut()
        self._refusing = False

    def freeze(self) -> None:
        """Go silent without closing anything: half-open. New connections are taken and get no answer either."""
        self._thawed.clear()

    def resume(self) -> None:
        """Forward again; frozen connections go on with what they held back."""
        self._refusing = False
        self._thawed.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refusing:
            writer.transport.abort()
            return
        self._writers.add(writer)
        self._start(self._connect(reader, writer))

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._thawed.wait()
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            self._writers.discard(writer)
            writer.transport.abort()
            return
        self._writers.add(target_writer)
        self._start(self._pump(reader, target_writer, (writer, target_writer)))
        self._start(self._pump(target_reader, writer, (writer, target_writer)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, both: tuple[asyncio.StreamWriter, ...]
    ) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                await self._thawed.wait()
                sink.write(data)
                await sink.drain()
            await self._thawed.wait()
        except (OSError, asyncio.IncompleteReadError):
            await self._thawed.wait()
        finally:
            for writer in both:
                self._writers.discard(writer)
                writer.transport.abort()
