"""Composes a worker behind a broker and runs it to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcai_worker_sdk.exchange.rabbitmq.exchange import RabbitMQExchange
from mcai_worker_sdk.host.port import Host
from mcai_worker_sdk.job.definition import WorkerDefinition
from mcai_worker_sdk.lifecycle.engine import Lifecycle
from mcai_worker_sdk.settings import Settings
from mcai_worker_sdk.supervisor.broker import BrokerSupervisor
from mcai_worker_sdk.supervisor.identity import utc_now

__all__ = ["serve"]


def serve(definition: WorkerDefinition, settings: Settings, identity: Mapping[str, Any], host: Host) -> int:
    """
    Serve RabbitMQ until the worker ends.

    Args:
        definition: The worker.
        settings: Its settings.
        identity: The worker's announcement.
        host: Where its code runs; launched.

    Returns:
        The exit code.
    """
    lifecycle = Lifecycle(settings.job, announces_start=definition.is_media)
    exchange = RabbitMQExchange(settings.amqp, identity=identity, now=utc_now)
    return BrokerSupervisor(settings, identity, exchange, host, lifecycle).run()
