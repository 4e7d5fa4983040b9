"""The fixture by which authors get a private broker."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from mcai_worker_sdk.testing.rabbitmq import PrivateNode, VirtualHost
from tests.support.tap import Tap

MINIMAL = Path(__file__).resolve().parents[2] / "examples" / "minimal"


async def test_a_worker_connects_by_the_variables_of_the_private_broker(rabbitmq_broker: VirtualHost):
    async with Tap(rabbitmq_broker) as tap:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "py_mcai_worker/worker.py",
            cwd=MINIMAL,
            env={**os.environ, **rabbitmq_broker.environment("job_greeting"), "MCAI_MAX_JOBS": "1"},
        )
        await tap.wait_for("worker_created")
        await tap.submit(
            "job_greeting", {"job_id": 1, "parameters": [{"id": "name", "type": "string", "value": "Ann"}]}
        )
        await tap.wait_for("job_completed")

        assert await worker.wait() == 0


def test_each_test_has_a_virtual_host_of_its_own(rabbitmq_broker: VirtualHost, mcai_rabbitmq_node: PrivateNode):
    hosts = mcai_rabbitmq_node.api.request("GET", "/vhosts")

    assert {host["name"] for host in hosts} == {"/", rabbitmq_broker.name}
