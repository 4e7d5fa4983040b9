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
#: The backend is asked once the broker has all declarations.
AFTER_DECLARING = "GET /api/step_flow/blacklist"


async def observe_topology(node: RabbitMqNode, mode: str, *, reference: str | None = None) -> dict[str, Any]:
    """Start a worker in an empty virtual host and read what is there once everything is declared."""
    with node.vhost() as host, BackendStandIn() as backend:
        environment = {**backend.environ(), **MODES[mode]}
        async with WorkerProcess(host, python=reference or sys.executable, environment=environment):
            await eventually(backend.lines, lambda lines: AFTER_DECLARING in lines)
            content = _read_declared(node.api, host.name)
            if mode == "standalone":
                # The management API shows consumers seconds later; they are the same in every mode.
                content["consumers"] = await _read_consumers(node.api, host.name)
    (direct_queue,) = [queue["name"] for queue in content["queues"] if queue["name"].startswith(DIRECT_QUEUE)]
    text = json.dumps(content).replace(direct_queue.removeprefix(DIRECT_QUEUE), "<instance id>")
    masked: dict[str, Any] = json.loads(text)
    return {name: sorted(entries, key=json.dumps) for name, entries in masked.items()}


def _read_declared(api: ManagementApi, vhost: str) -> dict[str, Any]:
    exchanges, queues, bindings = api.exchanges(vhost), api.queues(vhost), api.bindings(vhost)
    return {
        "exchanges": _pick(exchanges, ("name", "type", "durable", "auto_delete", "internal", "arguments")),
        "queues": _pick(queues, ("name", "durable", "auto_delete", "exclusive", "arguments")),
        "bindings": _pick(bindings, ("source", "destination", "routing_key", "arguments")),
    }


async def _read_consumers(api: ManagementApi, vhost: str) -> list[dict[str, Any]]:
    def read() -> list[dict[str, Any]]:
        flat = [{**consumer, "queue": consumer["queue"]["name"]} for consumer in api.consumers(vhost)]
        return _pick(flat, ("queue", "consumer_tag", "ack_required", "prefetch_count", "exclusive", "arguments"))

    return await eventually(read, lambda consumers: len(consumers) == 2)


def _pick(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [{name: entry[name] for name in names} for entry in entries]
