"""A tap: records what goes over the exchanges of a virtual host, and submits orders as StepFlow does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import pika  # type: ignore[import-untyped]

from mcai_worker_sdk.exchange.rabbitmq.client import AmqpChannel, AmqpClosed, AmqpConnection, IncomingMessage
from mcai_worker_sdk.exchange.rabbitmq.topology import make_topology
from tests.support.rabbitmq import VirtualHost

__all__ = ["Tap"]

TAP_QUEUE = "tap"
#: Exchanges that workers publish to; what comes over the others was sent to workers.
RESPONSE_EXCHANGES = ("job_response", "worker_response")
ORDER_EXCHANGES = ("job_submit", "direct_messaging")
NOBODY = {"instance_id": "", "queue_name": "", "direct_messaging_queue_name": "", "name": "", "version": ""}
PROPERTY_NAMES = (
    "content_type",
    "content_encoding",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "type",
    "user_id",
    "app_id",
    "headers",
)


class Tap:
    """
    Bound to the exchanges of a virtual host from before the worker comes; survives broker restarts.

    Use it as an async context manager. ``messages`` holds one dict per message, formed as in the recordings:
    ``t`` (seconds since the tap opened), ``dir`` (``in`` to workers, ``out`` from them), ``exchange``,
    ``routing_key``, ``properties``, ``body`` (decoded JSON, or text when it is none).
    """

    def __init__(self, host: VirtualHost, *, orders: bool = False, delayed: bool = False, durable: bool = True) -> None:
        """
        Args:
            host: Where to listen.
            orders: Record orders and direct messages too.
            delayed: Record what goes through the delay exchange too.
            durable: Lose nothing in a restart of the broker, at the price of its writing each message to disk.
        """
        self.messages: list[dict[str, Any]] = []
        self._host = host
        self._exchanges = [*RESPONSE_EXCHANGES, *(ORDER_EXCHANGES if orders else ())]
        if delayed:
            self._exchanges.append("job_delayed")
        self._durable = durable
        self._opened = time.monotonic()
        self._connection: AmqpConnection | None = None
        self._channel: AmqpChannel | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._notifying: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        await self._ready.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._connection is not None:
            await self._connection.close(2.0)

    def out(self, *routing_keys: str) -> list[dict[str, Any]]:
        """What workers published, all or with one of these routing keys."""
        return [
            message
            for message in self.messages
            if message["dir"] == "out" and (not routing_keys or message["routing_key"] in routing_keys)
        ]

    def keys(self) -> list[str]:
        """Routing keys of what workers published, in order."""
        return [message["routing_key"] for message in self.out()]

    async def wait_for(self, *routing_keys: str, count: int = 1, timeout_seconds: float = 30.0) -> list[dict[str, Any]]:
        """Wait until workers have published this many messages with one of these routing keys; returns them."""
        await self.wait_until(lambda: len(self.out(*routing_keys)) >= count, timeout_seconds)
        return self.out(*routing_keys)

    async def wait_until(self, condition: Callable[[], bool], timeout_seconds: float = 30.0) -> None:
        """Wait until ``condition`` holds; it is asked after each message."""
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            keys = self.keys()
            raise AssertionError(
                f"Waited {timeout_seconds:.0f} s in vain; {len(keys)} messages so far, the last: {keys[-20:]}"
            ) from None

    async def submit(
        self,
        queue: str,
        order: Mapping[str, Any] | bytes,
        *,
        priority: int | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        """Publish an order to ``job_submit``."""
        properties = pika.BasicProperties(delivery_mode=2, priority=priority, headers=dict(headers or {}) or None)
        await self.publish("job_submit", queue, order, properties)

    async def direct(self, message: Mapping[str, Any] | bytes, **headers: str) -> None:
        """Publish a direct message; without headers to every worker, as StepFlow polls status."""
        properties = pika.BasicProperties(headers=dict(headers) or {"broadcast": "true"})
        await self.publish("direct_messaging", "", message, properties)

    async def publish(self, exchange: str, key: str, body: Mapping[str, Any] | bytes, properties: Any) -> None:
        """Publish anything."""
        await self._ready.wait()
        assert self._channel is not None
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._channel.publish(exchange, key, data, properties, mandatory=False)

    async def _run(self) -> None:
        parameters = pika.ConnectionParameters(
            "127.0.0.1",
            self._host.port,
            self._host.name,
            pika.PlainCredentials(self._host.username, self._host.password),
            client_properties={"connection_name": "tap"},
        )
        while True:
            with contextlib.suppress(AmqpClosed):
                self._connection = await AmqpConnection.open(parameters, heartbeat_seconds=60)
                await self._listen(self._connection)
                self._ready.set()
                await asyncio.shield(self._connection.closed)
            self._ready.clear()
            await asyncio.sleep(0.1)

    async def _listen(self, connection: AmqpConnection) -> None:
        channel = await connection.channel()
        topology = make_topology(NOBODY, cluster=False, consumer_timeout_ms=None, version=(3, 10))
        await channel.declare_queue(TAP_QUEUE, durable=self._durable, exclusive=False, auto_delete=False, arguments={})
        for exchange in topology.exchanges:
            await channel.declare_exchange(exchange.name, exchange.kind, durable=True, arguments=exchange.arguments)
            if exchange.name in self._exchanges:
                # "#" takes every key of a topic exchange; asking for no header takes all of a headers exchange.
                arguments = {"x-match": "all"} if exchange.kind == "headers" else {}
                await channel.bind_queue(TAP_QUEUE, exchange.name, "#", arguments)
        self._channel = channel
        await channel.consume(TAP_QUEUE, "tap", self._record)

    def _record(self, message: IncomingMessage) -> None:
        assert self._channel is not None
        self._channel.acknowledge(message.tag)
        decoded = pika.BasicProperties().decode(message.properties.data)
        properties = {name: value for name in PROPERTY_NAMES if (value := getattr(decoded, name)) is not None}
        try:
            body = json.loads(message.body)
        except ValueError:
            body = message.body.decode(errors="replace")
        self.messages.append(
            {
                "t": round(time.monotonic() - self._opened, 3),
                "dir": "in" if message.exchange in ORDER_EXCHANGES else "out",
                "exchange": message.exchange,
                "routing_key": message.routing_key,
                "properties": properties,
                "body": body,
            }
        )
        task = asyncio.get_running_loop().create_task(self._notify())
        self._notifying.add(task)
        task.add_done_callback(self._notifying.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
