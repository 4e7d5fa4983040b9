"""A connection to the broker as StepFlow has one: sends orders and direct messages, hears what workers publish."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pika  # type: ignore[import-untyped]

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.rabbitmq.client import AmqpChannel, AmqpClosed, AmqpConnection, IncomingMessage
from mcai_worker_sdk.exchange.rabbitmq.connection import connection_parameters, open_connection, tls_context
from mcai_worker_sdk.exchange.rabbitmq.topology import DIRECT_MESSAGING, JOB_SUBMIT, make_topology
from mcai_worker_sdk.settings import AmqpSettings
from mcai_worker_sdk.supervisor.identity import sdk_version
from mcai_worker_sdk.testing.shapes import EXCHANGES

__all__ = ["Broker", "Heard"]

_CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Heard:
    """One message of a worker."""

    routing_key: str
    body: Any
    """What its JSON says; text when it is none."""


class Broker:
    """
    Use it as an async context manager: from its begin on, nothing that a worker publishes is missed.

    Args:
        settings: Where the broker is.
    """

    def __init__(self, settings: AmqpSettings) -> None:
        self._settings = settings
        self._heard: asyncio.Queue[Heard] = asyncio.Queue()
        self._returned: list[str] = []
        self._confirmed = asyncio.Event()

    async def __aenter__(self) -> Self:
        """
        Raises:
            ExchangeError: The broker cannot be used; names the variable to check.
        """
        settings = self._settings
        name = {"name": "mcai-worker", "instance_id": str(uuid.uuid4()), "sdk_version": sdk_version()}
        parameters = connection_parameters(settings, name, tls_context(settings) if settings.tls else None)
        self._connection = await open_connection(settings, parameters)
        try:
            self._channel = await self._listen(self._connection, f"mcai-worker-{name['instance_id']}")
        except AmqpClosed as closed:
            await self._connection.close(_CLOSE_SECONDS)
            raise ExchangeError(
                f"The RabbitMQ server {settings.hostname}:{settings.port} refuses what the command needs: {closed}. "
                "Give the user the permission to configure, write and read in the virtual host."
            ) from closed
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close(_CLOSE_SECONDS)

    async def submit(self, queue: str, order: bytes, *, priority: int | None = None) -> None:
        """
        Put an order into a job queue, and return once the broker has it.

        Raises:
            ExchangeError: There is no such queue, or the link was lost.
        """
        properties = self._properties(priority=priority)
        await self._publish(JOB_SUBMIT, queue, order, properties)
        if self._returned:
            raise ExchangeError(
                f"The queue {queue!r} does not exist in the virtual host {self._settings.vhost!r}; expected one that a "
                "worker has declared. Start its worker, or name another queue (AMQP_QUEUE, --queue)."
            )

    async def send(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Send a direct message to the workers that one of the headers selects."""
        await self._publish(DIRECT_MESSAGING, "", json.dumps(message).encode(), self._properties(headers=dict(headers)))

    async def next(self, timeout_seconds: float | None = None) -> Heard | None:
        """
        Wait for the next message of a worker.

        Args:
            timeout_seconds: How long; ``None`` for as long as it takes.

        Returns:
            The message; ``None`` when the time ran out.

        Raises:
            ExchangeError: The link was lost.
        """
        getting = asyncio.ensure_future(self._heard.get())
        try:
            awaited: set[asyncio.Future[Any]] = {getting, self._channel.closed}
            await asyncio.wait(awaited, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                return getting.result()
            self._raise_if_lost()
            return None
        finally:
            getting.cancel()

    async def _publish(self, exchange: str, key: str, body: bytes, properties: Any) -> None:
        self._returned.clear()
        self._confirmed.clear()
        self._channel.publish(exchange, key, body, properties, mandatory=True)
        confirmed = asyncio.ensure_future(self._confirmed.wait())
        awaited: set[asyncio.Future[Any]] = {confirmed, self._channel.closed}
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        confirmed.cancel()
        self._raise_if_lost()

    def _raise_if_lost(self) -> None:
        if self._channel.closed.done():
            where = f"{self._settings.hostname}:{self._settings.port}"
            raise ExchangeError(
                f"The link to the RabbitMQ server {where} was lost: {self._channel.closed.result()}. Try again."
            )

    def _properties(self, **values: Any) -> Any:
        return pika.BasicProperties(
            content_type="application/json", delivery_mode=self._settings.delivery_mode, **values
        )

    async def _listen(self, connection: AmqpConnection, queue: str) -> AmqpChannel:
        channel = await connection.channel()
        nobody = dict.fromkeys(("instance_id", "queue_name", "direct_messaging_queue_name", "name", "version"), "")
        exchanges = make_topology(nobody, cluster=False, consumer_timeout_ms=None, version=(0,)).exchanges
        for exchange in exchanges:
            await channel.declare_exchange(exchange.name, exchange.kind, durable=True, arguments=exchange.arguments)
        await channel.declare_queue(queue, durable=False, exclusive=True, auto_delete=True, arguments={})
        for name in sorted(set(EXCHANGES.values())):
            await channel.bind_queue(queue, name, "#", {})
        await channel.confirm(
            lambda _tag, _multiple, _acknowledged: self._confirmed.set(),
            lambda _exchange, _key, _body, reason: self._returned.append(reason),
        )
        self._channel = channel
        await channel.consume(queue, "mcai-worker", self._take)
        return channel

    def _take(self, message: IncomingMessage) -> None:
        self._channel.acknowledge(message.tag)
        try:
            body = json.loads(message.body)
        except ValueError:
            body = message.body.decode(errors="replace")
        self._heard.put_nowait(Heard(message.routing_key, body))
