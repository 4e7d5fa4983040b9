"""What workers declare: equal to the last argument, so that old and new workers share one broker."""

from __future__ import annotations

import copy
import json
import sys
from typing import Any

import pytest

from tests.contract.recordings import read_recording
from tests.contract.topology import MODES, observe_topology
from tests.support.backend import BackendStandIn
from tests.support.rabbitmq import RabbitMqNode, VirtualHost
from tests.support.tap import Tap
from tests.support.workers import QUEUE, WorkerProcess, code_order

WAIT_FOR_STOP = "while not ch.is_stopped(): time.sleep(0.02)\nch.set_job_status(mcai.JobStatus.Stopped)"


def as_asked_for(recorded: dict[str, Any], mode: str, node: RabbitMqNode) -> dict[str, Any]:
    """What was recorded, as this SDK declares it on a broker of this version."""
    if not node.is_strict or mode == "cluster":
        return recorded
    expected = copy.deepcopy(recorded)
    for queue in expected["queues"]:
        queue["exclusive"] = queue["name"].startswith("direct_messaging_")
        queue["arguments"].pop("x-consumer-timeout", None)
    return expected


@pytest.mark.parametrize("mode", MODES)
async def test_this_sdk_declares_what_was_recorded_of_the_reference(rabbitmq_node: RabbitMqNode, mode: str):
    recorded = read_recording(f"topology_{mode}")
    observed = await observe_topology(rabbitmq_node, mode)

    assert in_order(observed) == in_order(as_asked_for(recorded, mode, rabbitmq_node))


@pytest.mark.parametrize("mode", MODES)
async def test_the_reference_declares_what_was_recorded_of_it(rabbitmq_node: RabbitMqNode, reference: str, mode: str):
    recorded = read_recording(f"topology_{mode}")
    observed = await observe_topology(rabbitmq_node, mode, reference=reference)
    if mode == "consumer_timeout" and rabbitmq_node.is_strict:
        # Its job queue is refused, and its channel with it: it says that all is configured, and never takes an order.
        missing = {queue["name"] for queue in recorded["queues"]} - {queue["name"] for queue in observed["queues"]}
        assert QUEUE in missing
        assert observed["exchanges"] == recorded["exchanges"]
    else:
        assert observed == recorded


def in_order(topology: dict[str, Any]) -> dict[str, Any]:
    return {
        name: sorted(entries, key=lambda entry: json.dumps(entry, sort_keys=True)) for name, entries in topology.items()
    }


@pytest.mark.parametrize("mode", ["standalone", "cluster"])
@pytest.mark.parametrize("first", ["reference", "this SDK"])
async def test_both_work_side_by_side_whoever_declared_first(vhost: VirtualHost, reference: str, first: str, mode: str):
    order = [reference, sys.executable] if first == "reference" else [sys.executable, reference]
    with BackendStandIn() as backend:
        environment = {**backend.environ(), **MODES[mode]}
        async with (
            Tap(vhost) as tap,
            WorkerProcess(vhost, python=order[0], environment=environment) as worker,
        ):
            await worker.created(tap)
            async with WorkerProcess(vhost, python=order[1], environment=environment):
                await tap.wait_for("worker_created", count=2)
                for job_id in (1, 2):
                    await tap.submit(QUEUE, code_order(job_id, WAIT_FOR_STOP))
                running = await tap.wait_for("job_progression", count=2)
                for job_id in (1, 2):
                    await tap.direct({"type": "stop_process", "job_id": job_id, "parameters": []})
                await tap.wait_for("job_stopped", count=2)

    # With a prefetch of one, two jobs that wait are with two workers.
    assert len({message["body"]["docker_container_id"] for message in running}) == 2
