"""Runs a scenario on a real worker process behind a real broker: this SDK's or the reference's."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pika

from tests.contract.observation import Observation, mask_messages
from tests.contract.script import Await, AwaitBackend, Broadcast, Direct, Ended, Gate, Pause, Scenario, Step, Submit
from tests.support.backend import BackendStandIn
from tests.support.rabbitmq import RabbitMqNode, VirtualHost, eventually
from tests.support.tap import Tap
from tests.support.workers import QUEUE, WorkerProcess

__all__ = ["run_on_rabbitmq", "with_gate"]

#: How long the reference may stay silent before its silence is believed.
SILENCE_SECONDS = 1.0
#: The reference goes on forgetting its job after it published the result, and nothing tells when it is done.
FORGETTING_SECONDS = 0.4


def with_gate(value: Any, gate: Path) -> Any:
    """An order with the gate's file name in its code."""
    if isinstance(value, str):
        return value.replace("@gate@", str(gate))
    if isinstance(value, Mapping):
        return {key: with_gate(inner, gate) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [with_gate(inner, gate) for inner in value]
    return value


async def run_on_rabbitmq(node: RabbitMqNode, scenario: Scenario, *, reference: str | None = None) -> Observation:
    """
    Run one scenario in a virtual host of its own.

    Args:
        node: The broker.
        scenario: What to send.
        reference: The reference's interpreter; ``None`` runs this SDK.
    """
    with node.vhost() as host, BackendStandIn() as backend, tempfile.TemporaryDirectory() as folder:
        backend.black_list = list(scenario.black_list)
        environment = {**backend.environ(), "MCAI_LOG": "DEBUG", **scenario.environment}
        python = reference or sys.executable
        async with Tap(host) as tap, WorkerProcess(host, python=python, environment=environment) as worker:
            conversation = _Conversation(tap, worker, backend, Path(folder) / "gate", is_reference=bool(reference))
            exit_code = await conversation.hold(scenario)
            left = await asyncio.to_thread(_left_in_queues, host)
        lines = [line for line in backend.lines() if line != "POST /api/sessions"]
    return Observation(
        messages=mask_messages(tap.out()),
        properties=_different([message["properties"] for message in tap.out()]),
        backend=lines,
        left_in_queue=left,
        exit_code=exit_code,
    )


class _Conversation:
    def __init__(
        self, tap: Tap, worker: WorkerProcess, backend: BackendStandIn, gate: Path, *, is_reference: bool
    ) -> None:
        self._tap = tap
        self._worker = worker
        self._backend = backend
        self._gate = gate
        self._is_reference = is_reference
        self._awaited: Counter[str] = Counter()
        self._requests_seen = 0
        self._instance_id = ""

    async def hold(self, scenario: Scenario) -> int:
        self._instance_id = await self._worker.created(self._tap)
        self._requests_seen = len(self._backend.lines())
        for step in scenario.steps:
            await self._take(step)
        if scenario.ends_itself:
            return await self._worker.ended()
        if self._is_reference:
            await asyncio.sleep(FORGETTING_SECONDS)
        await self._take(Direct({"type": "status"}))
        await self._take(Await("worker_status", by="ours" if scenario.wedges_reference else "both"))
        self._worker.send_signal(signal.SIGTERM)
        await self._take(Await("worker_terminated"))
        return await self._worker.ended()

    async def _take(self, step: Step) -> None:
        match step:
            case Submit():
                order = step.body if isinstance(step.body, bytes) else with_gate(step.body, self._gate)
                await self._tap.submit(QUEUE, order, priority=step.priority, headers=step.headers)
            case Direct():
                order = step.body if isinstance(step.body, bytes) else with_gate(step.body, self._gate)
                await self._tap.direct(order, instance_id=self._instance_id)
            case Broadcast():
                headers = {name: value.replace("?", self._instance_id) for name, value in step.headers.items()}
                await self._tap.direct({"type": "status"}, **headers)
            case Await():
                await self._await(step)
            case AwaitBackend():
                await eventually(lambda: self._backend.lines()[self._requests_seen :], lambda lines: step.line in lines)
                self._requests_seen = len(self._backend.lines())
            case Gate():
                self._gate.touch()
            case Pause():
                await asyncio.sleep(step.seconds)
            case Ended():
                await self._worker.ended()

    async def _await(self, step: Await) -> None:
        """Wait for a message; the reference, where it publishes none, is given time to do so after all."""
        published = step.by == "both" or (step.by == "reference") == self._is_reference
        if published:
            self._awaited[step.routing_key] += 1
            await self._tap.wait_for(step.routing_key, count=self._awaited[step.routing_key], timeout_seconds=20)
        elif self._is_reference:
            with contextlib.suppress(AssertionError):
                count = self._awaited[step.routing_key] + 1
                await self._tap.wait_for(step.routing_key, count=count, timeout_seconds=SILENCE_SECONDS)


def _left_in_queues(host: VirtualHost) -> int:
    """What the worker did not settle is back in the queue, or in the delay queue, once the broker noticed its end."""
    credentials = pika.PlainCredentials(host.username, host.password)
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", host.port, host.name, credentials))
    with contextlib.closing(connection):
        channel = connection.channel()
        while channel.queue_declare(QUEUE, passive=True).method.consumer_count:
            connection.sleep(0.01)
        return sum(channel.queue_declare(name, passive=True).method.message_count for name in (QUEUE, "job_delayed"))


def _different(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
