"""Broker fixtures, and a driver that holds one exchange and keeps what it says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from mcai_worker_sdk.exchange.base import ExchangeEvent
from mcai_worker_sdk.exchange.rabbitmq.exchange import RabbitMQExchange
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol.delivery import Delivery
from mcai_worker_sdk.protocol.responses import WorkerAnnouncement
from mcai_worker_sdk.settings import AmqpSettings
from tests.support.fixtures import authority, rabbitmq_node, vhost
from tests.support.rabbitmq import VirtualHost

__all__ = ["authority", "driver", "identity", "rabbitmq_node", "settings_for", "vhost"]

QUEUE = "job_test"
INSTANCE = "6b0bff4c-0000-4000-8000-000000000001"


class Driver:
    """An exchange with its events, in order."""

    def __init__(self, settings: AmqpSettings, identity: dict[str, Any]) -> None:
        self.identity = identity
        self.exchange = RabbitMQExchange(settings, identity=identity, now=lambda: "2026-11-22T22:18:16.343911Z")
        self.events: list[ExchangeEvent] = []
        self.announcements = 0
        self._changed = asyncio.Event()

    @property
    def deliveries(self) -> list[Delivery]:
        return [event.delivery for event in self.events if isinstance(event, ev.OrderReceived | ev.OrderUnreadable)]

    async def open(self) -> None:
        await self.exchange.open(self._on_event, self._announce)

    async def until(self, condition: Callable[[], bool], timeout_seconds: float = 40.0) -> None:
        """Wait until ``condition`` holds; it is asked after each event."""
        async with asyncio.timeout(timeout_seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def event(self, kind: type, count: int = 1) -> ExchangeEvent:
        """Wait for the ``count``-th event of a kind."""
        await self.until(lambda: sum(isinstance(event, kind) for event in self.events) >= count)
        return [event for event in self.events if isinstance(event, kind)][count - 1]

    async def delivery(self, count: int = 1) -> Delivery:
        """Wait for the ``count``-th delivery."""
        await self.until(lambda: len(self.deliveries) >= count)
        return self.deliveries[count - 1]

    def _on_event(self, event: ExchangeEvent) -> None:
        self.events.append(event)
        self._changed.set()

    async def _announce(self) -> None:
        self.announcements += 1
        await self.exchange.publish(WorkerAnnouncement("worker_discovery", self.identity))


def order(job_id: int) -> dict[str, Any]:
    """A job order."""
    return {"job_id": job_id, "parameters": []}


def job_id_of(delivery: Delivery) -> int:
    """The job a delivery is about."""
    return int(json.loads(delivery.body)["job_id"])


@pytest.fixture
def identity() -> dict[str, Any]:
    return {
        "instance_id": INSTANCE,
        "queue_name": QUEUE,
        "direct_messaging_queue_name": f"direct_messaging_{INSTANCE}",
        "name": "my_worker",
        "version": "1.2.3",
        "sdk_version": "3.0.0",
    }


@pytest.fixture
def settings_for() -> Callable[..., AmqpSettings]:
    """Settings for a virtual host, with changes."""

    def make(host: VirtualHost, **changes: Any) -> AmqpSettings:
        values: dict[str, Any] = {
            "hostname": "127.0.0.1",
            "port": host.port,
            "username": host.username,
            "password": host.password,
            "vhost": host.name,
            "queue": QUEUE,
            **changes,
        }
        return AmqpSettings(**values)

    return make


@pytest.fixture
def driver(
    settings_for: Callable[..., AmqpSettings], identity: dict[str, Any]
) -> Callable[..., AbstractAsyncContextManager[Driver]]:
    """Makes an opened driver, closed at the end of the ``async with``."""

    @contextlib.asynccontextmanager
    async def make(host: VirtualHost, *, opened: bool = True, **changes: Any) -> AsyncIterator[Driver]:
        one = Driver(settings_for(host, **changes), identity)
        try:
            if opened:
                await one.open()
            yield one
        finally:
            await one.exchange.close()

    return make
