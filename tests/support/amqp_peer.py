"""
A scripted AMQP 0-9-1 peer on loopback: says what the RabbitMQ at hand cannot be made to say.

It answers like a broker that agrees to everything; a test overrides single answers by rules.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import pamqp.frame
from pamqp import body as amqp_body
from pamqp import commands, header, heartbeat

__all__ = ["AmqpPeer"]

Rule = Callable[[Any], Sequence[Any] | None]

FRAME_HEADER_BYTES = 7
PROTOCOL_HEADER_BYTES = 8


class AmqpPeer:
    """One listening peer; use it as an async context manager. ``received`` holds every method the client sent."""

    def __init__(
        self,
        *,
        version: str = "4.3.5",
        frame_max: int = 131072,
        channel_max: int = 2047,
        heartbeat_seconds: int = 60,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        silent_before: type | None = None,
        half_said: bool = False,
    ) -> None:
        """
        Args:
            version: The ``version`` of the server properties.
            frame_max: Largest frame, bytes, as tuned.
            channel_max: Most channels of a connection, as tuned.
            heartbeat_seconds: As tuned.
            host: Where it listens.
            tls: Server side of TLS.
            silent_before: The first method it does not say; from there on it says nothing.
            half_said: It says the first half of that method's frame.
        """
        self.port = 0
        self.received: list[Any] = []
        """Methods, over all connections, in order; a publish is followed by its body in ``published``."""
        self.published: list[tuple[str, str, bytes]] = []
        self.largest_frame = 0
        """Bytes of the largest frame the client sent."""
        self.client_properties: dict[str, Any] = {}
        self.connections = 0
        self._version = version
        self.server_properties = b""
        """Entries of a field table, besides product, version and capabilities."""
        self._frame_max = frame_max
        self._channel_max = channel_max
        self._host = host
        self._tls = tls
        self._silent_before = silent_before
        self._half_said = half_said
        self._heartbeat_seconds = heartbeat_seconds
        self._rules: list[tuple[type, Rule]] = []
        self._server: asyncio.Server | None = None
        self._sessions: set[_Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._host, 0, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def sessions(self) -> int:
        """How many clients are connected."""
        return len(self._sessions)

    def drop(self) -> None:
        """Reset every connection."""
        for session in list(self._sessions):
            session.abort()

    def rule(self, method: type, answer: Rule) -> None:
        """
        Override answers: for each ``method`` received, ``answer(frame)`` gives the frames to send instead of the
        usual ones, or ``None`` for the usual ones. ``Connection.Close`` goes to channel 0 by itself.
        """
        self._rules.append((method, answer))

    def rule_once(self, method: type, when: Callable[[Any], bool], *frames: Any) -> None:
        """Override one answer: the next ``method`` for which ``when`` holds is answered by ``frames``."""
        used: list[Any] = []

        def answer(frame: Any) -> Sequence[Any] | None:
            if used or not when(frame):
                return None
            used.append(frame)
            return frames

        self.rule(method, answer)

    async def deliver(
        self,
        consumer_tag: str,
        message: bytes,
        *,
        tag: int = 1,
        redelivered: bool = False,
        properties: bytes = b"\0\0",
    ) -> None:
        """
        Deliver a message to a consumer of the newest connection.

        Args:
            consumer_tag: The consumer.
            message: The body.
            tag: Delivery tag.
            redelivered: As in the method.
            properties: Flags and properties as they go over the wire; none.
        """
        session, channel = self._consumer(consumer_tag)
        content = struct.pack(">HHQ", 60, 0, len(message)) + properties
        session.send(
            channel,
            commands.Basic.Deliver(consumer_tag, tag, redelivered, "job_submit", "job_test"),
            struct.pack(">BHI", 2, channel, len(content)) + content + b"\xce",
            *([amqp_body.ContentBody(message)] if message else []),
        )

    async def cancel(self, consumer_tag: str) -> None:
        """Cancel a consumer, as a broker does whose queue is gone."""
        session, channel = self._consumer(consumer_tag)
        session.send(channel, commands.Basic.Cancel(consumer_tag, True))

    async def close_consumer_channel(self, consumer_tag: str, code: int, text: str) -> None:
        """Close the channel of a consumer."""
        session, channel = self._consumer(consumer_tag)
        session.send(channel, commands.Channel.Close(code, text, 0, 0))

    async def block(self, reason: str) -> None:
        """Say ``connection.blocked`` on the newest connection."""
        self._newest().send(0, commands.Connection.Blocked(reason))

    async def unblock(self) -> None:
        """Take ``connection.blocked`` back."""
        self._newest().send(0, commands.Connection.Unblocked())

    async def wait_for(self, condition: Callable[[], bool], timeout_seconds: float = 10.0) -> None:
        """Wait until ``condition`` holds; it is asked after each received frame, and when clients come and go."""
        async with asyncio.timeout(timeout_seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def methods(self, kind: type) -> list[Any]:
        """The received methods of one kind."""
        return [frame for frame in self.received if isinstance(frame, kind)]

    def said(self, frame: Any, data: bytes) -> bytes:
        """What of a frame's bytes is sent."""
        if self._silent_before is None or not isinstance(frame, self._silent_before):
            return data
        return data[: len(data) // 2] if self._half_said else b""

    def answer(self, frame: Any, usual: Sequence[Any]) -> Sequence[Any]:
        """The frames that answer a method: by the first rule that has any, else the usual ones."""
        for kind, rule in self._rules:
            if isinstance(frame, kind):
                frames = rule(frame)
                if frames is not None:
                    return frames
        return usual

    def note(self, frame: Any, size: int) -> None:
        """Record a received frame."""
        self.largest_frame = max(self.largest_frame, size)
        if isinstance(frame, commands.Connection.StartOk):
            self.client_properties = dict(frame.client_properties)
        if not isinstance(frame, header.ContentHeader | amqp_body.ContentBody | heartbeat.Heartbeat):
            self.received.append(frame)
        self._changed.set()

    @property
    def opening(self) -> commands.Connection.Start:
        """The first frame of a connection."""
        capabilities = {
            "publisher_confirms": True,
            "basic.nack": True,
            "consumer_cancel_notify": True,
            "connection.blocked": True,
            "authentication_failure_close": True,
        }
        properties = {"product": "RabbitMQ", "version": self._version, "capabilities": capabilities}
        return commands.Connection.Start(0, 9, properties, "PLAIN AMQPLAIN", "en_US")

    def with_server_properties(self, opening: commands.Connection.Start) -> commands.Connection.Start | bytes:
        """The first frame with more properties in it than pamqp can write."""
        if not self.server_properties:
            return opening
        frame = bytearray(pamqp.frame.marshal(opening, 0))
        table = FRAME_HEADER_BYTES + 6
        for place in (3, table):
            size = struct.unpack_from(">I", frame, place)[0]
            struct.pack_into(">I", frame, place, size + len(self.server_properties))
        frame[table + 4 : table + 4] = self.server_properties
        return bytes(frame)

    @property
    def tuning(self) -> commands.Connection.Tune:
        """What the peer wants tuned."""
        return commands.Connection.Tune(self._channel_max, self._frame_max, self._heartbeat_seconds)

    def _newest(self) -> _Session:
        return max(self._sessions, key=lambda session: session.number)

    def _consumer(self, consumer_tag: str) -> tuple[_Session, int]:
        session = self._newest()
        return session, session.consumers[consumer_tag]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        session = _Session(self, reader, writer, self.connections)
        self._sessions.add(session)
        self._changed.set()
        task = asyncio.get_running_loop().create_task(self._serve(session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, session: _Session) -> None:
        try:
            await session.run()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client is gone: sessions end so
        finally:
            self._sessions.discard(session)
            session.abort()
            self._changed.set()


class _Session:
    """One client connection."""

    def __init__(self, peer: AmqpPeer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        self.consumers: dict[str, int] = {}
        self._peer = peer
        self._reader = reader
        self._writer = writer
        self._publishing: dict[int, tuple[commands.Basic.Publish, int, bytearray]] = {}
        self._confirmed: dict[int, int] = {}
        self._silent = False

    def abort(self) -> None:
        self._writer.transport.abort()

    def send(self, channel: int, *frames: Any) -> None:
        for frame in frames:
            number = 0 if isinstance(frame, commands.Connection.Close) else channel
            data = frame if isinstance(frame, bytes) else pamqp.frame.marshal(frame, number)
            if not self._silent:
                said = self._peer.said(frame, data)
                self._silent = len(said) < len(data)
                self._writer.write(said)

    async def run(self) -> None:
        await self._reader.readexactly(PROTOCOL_HEADER_BYTES)
        self.send(0, self._peer.with_server_properties(self._peer.opening))
        while True:
            channel, frame, size = await self._read()
            await self._handle(channel, frame)
            self._peer.note(frame, size)

    async def _read(self) -> tuple[int, Any, int]:
        start = await self._reader.readexactly(FRAME_HEADER_BYTES)
        _, channel, size = struct.unpack(">BHI", start)
        rest = await self._reader.readexactly(size + 1)
        _, _, frame = pamqp.frame.unmarshal(start + rest)
        return channel, frame, len(start) + len(rest)

    async def _handle(self, channel: int, frame: Any) -> None:
        if isinstance(frame, commands.Connection.StartOk):
            self.send(0, self._peer.tuning)
        elif isinstance(frame, commands.Basic.Publish):
            self._publishing[channel] = (frame, -1, bytearray())
        elif isinstance(frame, header.ContentHeader):
            method, _, content = self._publishing[channel]
            self._publishing[channel] = (method, frame.body_size, content)
            self._finish_publish(channel)
        elif isinstance(frame, amqp_body.ContentBody):
            self._publishing[channel][2].extend(frame.value)
            self._finish_publish(channel)
        else:
            if isinstance(frame, commands.Basic.Consume):
                self.consumers[frame.consumer_tag] = channel
            if isinstance(frame, commands.Channel.Open):
                self._confirmed[channel] = 0
            self.send(channel, *self._peer.answer(frame, list(_usual_answer(frame))))

    def _finish_publish(self, channel: int) -> None:
        method, size, content = self._publishing[channel]
        if len(content) < size:
            return
        del self._publishing[channel]
        self._peer.published.append((method.exchange, method.routing_key, bytes(content)))
        self._confirmed[channel] = tag = self._confirmed[channel] + 1
        self.send(channel, *self._peer.answer(method, [commands.Basic.Ack(tag)]))


def _usual_answer(frame: Any) -> Iterator[Any]:
    answers: dict[type, Callable[[Any], Any]] = {
        commands.Connection.Open: lambda _: commands.Connection.OpenOk(),
        commands.Connection.Close: lambda _: commands.Connection.CloseOk(),
        commands.Channel.Open: lambda _: commands.Channel.OpenOk(),
        commands.Channel.Close: lambda _: commands.Channel.CloseOk(),
        commands.Exchange.Declare: lambda _: commands.Exchange.DeclareOk(),
        commands.Queue.Declare: lambda asked: commands.Queue.DeclareOk(asked.queue, 0, 0),
        commands.Queue.Bind: lambda _: commands.Queue.BindOk(),
        commands.Queue.Delete: lambda _: commands.Queue.DeleteOk(0),
        commands.Basic.Qos: lambda _: commands.Basic.QosOk(),
        commands.Basic.Consume: lambda asked: commands.Basic.ConsumeOk(asked.consumer_tag),
        commands.Basic.Cancel: lambda asked: commands.Basic.CancelOk(asked.consumer_tag),
        commands.Confirm.Select: lambda _: commands.Confirm.SelectOk(),
    }
    answer = answers.get(type(frame))
    if answer is not None:
        yield answer(frame)
