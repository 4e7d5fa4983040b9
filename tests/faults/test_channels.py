"""The broker closes a channel, cancels a consumer, loses a queue: the connection stays, and so does the job."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.faults.kit import Scene
from tests.support.rabbitmq import RabbitMqNode, eventually
from tests.support.workers import QUEUE

#: Milliseconds the broker waits for an acknowledgement; it looks twice a second.
ACK_TIMEOUT_MS = 1000
SERVERS = pytest.mark.parametrize("server", ["standalone", "cluster"])


@pytest.fixture
def impatient_node(rabbitmq_node: RabbitMqNode) -> Iterator[RabbitMqNode]:
    rabbitmq_node.set_consumer_timeout(ACK_TIMEOUT_MS)
    yield rabbitmq_node
    rabbitmq_node.set_consumer_timeout(1_800_000)


@pytest.mark.usefixtures("impatient_node")
@SERVERS
async def test_the_acknowledgement_time_out_neither_ends_the_job_nor_doubles_its_result(scene: Scene, server: str):
    if server == "standalone" and scene.node.is_strict:
        pytest.skip("The classic queues of this broker know no acknowledgement time-out.")
    # From 4.3 on the queue itself takes its order back, and cancels the consumer.
    said = "The broker cancelled the consumer" if scene.node.is_strict else "delivery acknowledgement on channel"
    async with scene.worker(AMQP_SERVER_CONFIGURATION=server) as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        # Its redelivery, which is adopted, times out as well.
        await eventually(lambda: worker.log.count(said), lambda times: times >= 2)
        busy = await scene.status()
        scene.open_gate()
        await scene.ended(1)
        await scene.works()

        assert busy["job"]["job_id"] == 1
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        assert scene.tap.keys().count("worker_discovery") == 1
        await scene.leaves_nothing(worker)


async def test_a_job_queue_deleted_in_the_middle_of_a_job_is_declared_again(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        scene.node.api.delete_queue(scene.host.name, QUEUE)
        await eventually(lambda: "The link to RabbitMQ is restored" in worker.log, bool)
        scene.open_gate()
        await scene.ended(1)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_a_job_queue_deleted_while_the_worker_is_idle_is_consumed_again(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        scene.node.api.delete_queue(scene.host.name, QUEUE)
        await eventually(lambda: "The link to RabbitMQ is restored" in worker.log, bool)
        await scene.works()
        await scene.leaves_nothing(worker)


@SERVERS
async def test_a_direct_queue_that_is_deleted_is_declared_again_and_answers(scene: Scene, server: str):
    if server == "standalone" and scene.node.is_strict:
        pytest.skip("The direct queue is exclusive: this broker lets nobody delete it.")
    async with scene.worker(AMQP_SERVER_CONFIGURATION=server) as worker:
        instance_id = await worker.created(scene.tap)
        await scene.submit_gated(1)
        queue = f"direct_messaging_{instance_id}"
        scene.node.api.delete_queue(scene.host.name, queue)
        await eventually(lambda: "The channel of the direct queue is lost" in worker.log, bool)
        await eventually(lambda: bound(scene, queue), bool)
        busy = await scene.status()
        scene.open_gate()
        await scene.ended(1)

        assert busy["job"]["job_id"] == 1
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize(
    ("existing", "differs"),
    [
        ({"x-queue-type": "classic", "x-max-priority": 5}, "received '100' but current is '5'"),
        ({"x-queue-type": "quorum"}, "inequivalent arg 'x-queue-type'"),
    ],
    ids=["priority", "type"],
)
async def test_a_job_queue_with_other_arguments_ends_the_worker_with_both_sets_and_the_remedy(
    scene: Scene, existing: dict, differs: str
):
    dead_letters = {"x-dead-letter-exchange": "job_delayed", "x-dead-letter-routing-key": QUEUE}
    scene.node.api.declare_queue(scene.host.name, QUEUE, arguments={**dead_letters, **existing})
    async with scene.worker() as worker:
        exit_code = await worker.ended(timeout_seconds=15)

        assert exit_code == 1
        assert f"The queue '{QUEUE}' of virtual host '{scene.host.name}' exists with other arguments" in worker.log
        assert "expected x-dead-letter-exchange='job_delayed', x-dead-letter-routing-key='job_test'" in worker.log
        assert differs in worker.log
        assert "Delete it when it is empty, so that it is declared anew" in worker.log
        assert "Traceback" not in worker.log


async def test_a_job_queue_declared_anew_with_other_arguments_ends_a_running_worker(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        pending = asyncio.create_task(worker.ended(timeout_seconds=30))
        while not pending.done():
            # The worker is quick to declare it again: somebody else is quicker once.
            scene.node.api.delete_queue(scene.host.name, QUEUE)
            try:
                scene.node.api.declare_queue(scene.host.name, QUEUE, arguments={"x-max-priority": 5})
            except OSError:
                await asyncio.wait({pending}, timeout=0.5)
                continue
            await asyncio.wait({pending}, timeout=5)

        assert await pending == 1
        assert f"The queue '{QUEUE}'" in worker.log
        assert "exists with other arguments" in worker.log


async def test_a_worker_that_starts_while_the_broker_is_short_of_memory_says_so_and_waits(scene: Scene):
    await asyncio.to_thread(scene.node.raise_memory_alarm)
    try:
        async with scene.worker() as worker:
            await eventually(lambda: "RabbitMQ takes no messages for now (low on memory" in worker.log, bool)
            await asyncio.to_thread(scene.node.clear_memory_alarm)
            await worker.created(scene.tap)
            await scene.works()
            await scene.leaves_nothing(worker)
    finally:
        await asyncio.to_thread(scene.node.clear_memory_alarm)


async def test_a_queue_that_a_limit_forbids_to_declare_again_is_waited_for(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        scene.node.api.set_limit(scene.host.name, "max-queues", 1)
        scene.node.api.delete_queue(scene.host.name, QUEUE)
        await eventually(lambda: "Trying again." in worker.log, bool)
        scene.node.api.set_limit(scene.host.name, "max-queues", None)
        await eventually(lambda: "The link to RabbitMQ is restored" in worker.log, bool)
        await scene.works()

        assert f"cannot declare queue '{QUEUE}': queue limit in vhost '{scene.host.name}' (1) is reached" in worker.log
        assert "Raise that limit at the broker" in worker.log
        await scene.leaves_nothing(worker)


def bound(scene: Scene, queue: str) -> bool:
    bindings = scene.node.api.bindings(scene.host.name)
    consumers = scene.node.api.consumers(scene.host.name)
    return any(b["destination"] == queue for b in bindings) and any(c["queue"]["name"] == queue for c in consumers)
