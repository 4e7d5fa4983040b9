"""Composes a worker behind a broker and runs it to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcai_worker_sdk.exchange.rabbitmq.exchange import RabbitMQExchange
from mcai_worker_sdk.host.base import Host, WorkerSetup
from mcai_worker_sdk.lifecycle.engine import LifecycleOptions
from mcai_worker_sdk.supervisor.broker import BrokerSupervisor
from mcai_worker_sdk.supervisor.identity import utc_now

__all__ = ["serve"]


def serve(setup: WorkerSetup, identity: Mapping[str, Any], host: Host) -> int:
    """
    Serve RabbitMQ until the worker ends.

    Args:
        setup: The worker and what belongs to it.
        identity: The worker's announcement.
        host: Where its code runs; launched.

    Returns:
        The exit code.
    """
    settings = setup.settings
    options = LifecycleOptions(
        attempts_limit=settings.job.ttl_limit,
        soft_rejects_limit=settings.job.soft_limit,
        max_jobs=settings.job.max_jobs,
        announces_start=setup.is_media,
    )
    exchange = RabbitMQExchange(settings.amqp, identity=identity, now=utc_now)
    return BrokerSupervisor(settings, identity, exchange, host, options).run()
