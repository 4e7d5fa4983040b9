"""
Exchanges, queues and bindings of a worker, as data, and the order they are declared in.

Source: ``docs/reference/protocol.md``, "Exchanges and queues". A queue that exists with other arguments is refused by
the broker (406), and workers of the reference, StepFlow and we declare the same ones: every argument here is part of
the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.rabbitmq.client import AmqpChannel, AmqpClosed
from mcai_worker_sdk.exchange.rabbitmq.reply_codes import ReplyCode

__all__ = [
    "DIRECT_MESSAGING",
    "JOB_DELAYED",
    "JOB_SUBMIT",
    "Binding",
    "ExchangeDeclaration",
    "MismatchError",
    "QueueDeclaration",
    "QueueSet",
    "Topology",
    "declare_queue_set",
    "declare_return_path",
    "declare_shared",
    "make_topology",
]

JOB_SUBMIT = "job_submit"
JOB_DELAYED = "job_delayed"
DIRECT_MESSAGING = "direct_messaging"

#: How long a rejected or delayed order stays in the delay queue, milliseconds.
DELAY_MS = 5000
#: Levels of priority of a classic job queue.
MAX_PRIORITY = 100
#: From this version on the broker refuses transient queues that are not exclusive, and classic queues with
#: ``x-consumer-timeout``.
STRICT_SERVER_VERSION = (4, 3)


class MismatchError(ExchangeError):
    """Raised when a queue or exchange exists with other arguments: waiting does not help, the worker ends."""


@dataclass(frozen=True, slots=True)
class ExchangeDeclaration:
    """One durable exchange."""

    name: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """One queue with everything the broker compares when it is declared again."""

    name: str
    arguments: Mapping[str, Any]
    durable: bool = True
    auto_delete: bool = False
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding of a queue to an exchange."""

    exchange: str
    routing_key: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueSet:
    """A queue and its bindings: what is declared together."""

    queue: QueueDeclaration
    bindings: Sequence[Binding] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything a worker declares."""

    exchanges: Sequence[ExchangeDeclaration]
    shared: Sequence[QueueSet]
    """Queues of all workers."""
    jobs: QueueSet
    """The job queue."""
    direct: QueueSet
    """The worker's own queue for direct messages."""


def make_topology(
    identity: Mapping[str, Any],
    *,
    cluster: bool,
    consumer_timeout_ms: int | None,
    version: tuple[int, ...],
    exclusive_direct: bool = False,
) -> Topology:
    """
    The topology of one worker on one broker.

    Args:
        identity: The worker's ``instance_id``, ``queue_name``, ``direct_messaging_queue_name``, ``name``, ``version``.
        cluster: Quorum queues (``AMQP_SERVER_CONFIGURATION=cluster``) instead of classic ones.
        consumer_timeout_ms: ``x-consumer-timeout`` of the job queue, milliseconds.
        version: The server's version.
        exclusive_direct: Make the direct queue exclusive whatever the version, because the broker asked for it.
    """
    strict = version >= STRICT_SERVER_VERSION
    kind = {"x-queue-type": "quorum" if cluster else "classic"}
    return Topology(
        exchanges=(
            _with_alternate(JOB_SUBMIT, "topic", "job_queue_not_found"),
            _with_alternate("job_response", "topic", "job_response_not_found"),
            _with_alternate("worker_response", "topic", "worker_response_not_found"),
            ExchangeDeclaration(JOB_DELAYED, "fanout"),
            _with_alternate(DIRECT_MESSAGING, "headers", "direct_messaging_not_found"),
        ),
        shared=(
            QueueSet(
                QueueDeclaration(JOB_DELAYED, {"x-message-ttl": DELAY_MS, "x-dead-letter-exchange": "", **kind}),
                (Binding(JOB_DELAYED, "*"),),
            ),
            QueueSet(QueueDeclaration("worker_response_not_found", kind)),
            QueueSet(
                QueueDeclaration(
                    "worker_discovery",
                    {
                        "x-dead-letter-exchange": "job_response_delayed",
                        "x-dead-letter-routing-key": "worker_discovery",
                        **kind,
                    },
                )
            ),
        ),
        jobs=_job_queue(
            identity["queue_name"],
            kind,
            cluster=cluster,
            consumer_timeout_ms=consumer_timeout_ms if cluster or not strict else None,
        ),
        direct=_direct_queue(identity, kind, cluster=cluster, exclusive=not cluster and (strict or exclusive_direct)),
    )


async def declare_shared(channel: AmqpChannel, topology: Topology, *, vhost: str) -> None:
    """
    Declare the exchanges and the queues all workers share.

    Raises:
        MismatchError: One exists with other arguments.
        AmqpClosed: The broker refused for another reason, or the link is gone.
    """
    for exchange in topology.exchanges:
        await _declare_exchange(channel, exchange, vhost=vhost)
    for queue_set in topology.shared:
        await declare_queue_set(channel, queue_set, vhost=vhost)


async def declare_return_path(channel: AmqpChannel, topology: Topology, *, vhost: str) -> None:
    """
    Declare what an order passes on its way through the delay queue: its exchange, itself, and the job queue behind it.

    Raises:
        MismatchError: One exists with other arguments.
        AmqpClosed: The broker refused for another reason, or the link is gone.
    """
    for exchange in topology.exchanges:
        if exchange.name == JOB_DELAYED:
            await _declare_exchange(channel, exchange, vhost=vhost)
    for queue_set in (*topology.shared, topology.jobs):
        if queue_set.queue.name == JOB_DELAYED or queue_set is topology.jobs:
            await declare_queue_set(channel, queue_set, vhost=vhost)


async def declare_queue_set(channel: AmqpChannel, queue_set: QueueSet, *, vhost: str) -> None:
    """
    Declare a queue and bind it.

    Raises:
        MismatchError: It exists with other arguments.
        AmqpClosed: The broker refused for another reason, or the link is gone.
    """
    queue = queue_set.queue
    try:
        await channel.declare_queue(
            queue.name,
            durable=queue.durable,
            exclusive=queue.exclusive,
            auto_delete=queue.auto_delete,
            arguments=queue.arguments,
        )
        for binding in queue_set.bindings:
            await channel.bind_queue(queue.name, binding.exchange, binding.routing_key, binding.arguments)
    except AmqpClosed as closed:
        _raise_mismatch(closed, f"The queue {queue.name!r}", vhost, queue.arguments)
        raise


async def _declare_exchange(channel: AmqpChannel, exchange: ExchangeDeclaration, *, vhost: str) -> None:
    try:
        await channel.declare_exchange(exchange.name, exchange.kind, durable=True, arguments=exchange.arguments)
    except AmqpClosed as closed:
        _raise_mismatch(closed, f"The exchange {exchange.name!r}", vhost, exchange.arguments)
        raise


def _with_alternate(name: str, kind: str, alternate: str) -> ExchangeDeclaration:
    return ExchangeDeclaration(name, kind, {"alternate-exchange": alternate})


def _job_queue(name: str, kind: Mapping[str, Any], *, cluster: bool, consumer_timeout_ms: int | None) -> QueueSet:
    arguments = {"x-dead-letter-exchange": JOB_DELAYED, "x-dead-letter-routing-key": name, **kind}
    if not cluster:
        arguments["x-max-priority"] = MAX_PRIORITY
    if consumer_timeout_ms is not None:
        arguments["x-consumer-timeout"] = consumer_timeout_ms
    return QueueSet(QueueDeclaration(name, arguments), (Binding(JOB_SUBMIT, name),))


def _direct_queue(identity: Mapping[str, Any], kind: Mapping[str, Any], *, cluster: bool, exclusive: bool) -> QueueSet:
    headers = {
        "x-match": "any",
        "broadcast": "true",
        "instance_id": identity["instance_id"],
        "job_type": identity["queue_name"],
        "worker_name": identity["name"],
        "worker_version": identity["version"],
    }
    queue = QueueDeclaration(
        identity["direct_messaging_queue_name"], kind, durable=cluster, auto_delete=not cluster, exclusive=exclusive
    )
    return QueueSet(queue, (Binding(DIRECT_MESSAGING, "*", headers),))


def _raise_mismatch(closed: AmqpClosed, thing: str, vhost: str, arguments: Mapping[str, Any]) -> None:
    # The same code stands for a limit that is reached, an argument that this kind of queue does not take, and more.
    if closed.code != ReplyCode.PRECONDITION_FAILED or "inequivalent" not in str(closed):
        return
    wanted = ", ".join(f"{key}={value!r}" for key, value in sorted(arguments.items())) or "none"
    raise MismatchError(
        f"{thing} of virtual host {vhost!r} exists with other arguments; expected {wanted}. The broker says: {closed}. "
        "Delete it when it is empty, so that it is declared anew, or give the worker the AMQP_SERVER_CONFIGURATION and "
        "AMQP_CONSUMER_TIMEOUT it was declared with."
    ) from closed
