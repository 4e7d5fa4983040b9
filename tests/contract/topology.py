"""What a worker declares on its broker, as the management API shows it, with its instance id masked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.backend import BackendStandIn
from tests.support.rabbitmq import ManagementApi, RabbitMqNode, eventually
from tests.support.workers import WorkerProcess

__all__ = ["MODES", "observe_topology"]

#: Environment of each kind of broker that a worker can be told of.
MODES: Mapping[str, Mapping[str, str]] = {
    "standalone": {},
    "cluster": {"AMQP_SERVER_CONFIGURATION": "cluster"},
    "consumer_timeout": {"AMQP_CONSUMER_TIMEOUT": "90000"},
}
DIRECT_QUEUE = "direct_messaging_"


async def observe_topology(node: RabbitMqNode, mode: str, *, reference: str | None = None) -> dict[str, Any]:
    """Start a worker in an empty virtual host and read what is there once it takes jobs."""
    with node.vhost() as host, BackendStandIn() as backend:
        environment = {**backend.environ(), **MODES[mode]}
        async with WorkerProcess(host, python=reference or sys.executable, environment=environment):
            # Two consumers: the direct queue's, and last the job queue's.
            await eventually(lambda: node.api.consumers(host.name), lambda consumers: len(consumers) == 2)
            return _read(node.api, host.name)


def _read(api: ManagementApi, vhost: str) -> dict[str, Any]:
    content = {
        "exchanges": _pick(api.exchanges(vhost), ("name", "type", "durable", "auto_delete", "internal", "arguments")),
        "queues": _pick(api.queues(vhost), ("name", "durable", "auto_delete", "exclusive", "arguments")),
        "bindings": _pick(api.bindings(vhost), ("source", "destination", "routing_key", "arguments")),
        "consumers": [
            {**consumer, "queue": consumer["queue"]["name"]}
            for consumer in _pick(
                api.consumers(vhost),
                ("queue", "consumer_tag", "ack_required", "prefetch_count", "exclusive", "arguments"),
            )
        ],
    }
    (direct_queue,) = [queue["name"] for queue in content["queues"] if queue["name"].startswith(DIRECT_QUEUE)]
    text = json.dumps(content).replace(direct_queue.removeprefix(DIRECT_QUEUE), "<instance id>")
    masked: dict[str, Any] = json.loads(text)
    return {name: sorted(entries, key=json.dumps) for name, entries in masked.items()}


def _pick(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [{name: entry[name] for name in names} for entry in entries]
