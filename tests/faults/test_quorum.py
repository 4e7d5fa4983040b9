"""Queues that count for themselves, and drop what comes back too often: nothing is lost, nobody wrongly blamed."""

from __future__ import annotations

import signal

import pytest

from tests.faults.kit import Scene, text_of
from tests.support.rabbitmq import eventually
from tests.support.workers import QUEUE, code_order

pytestmark = pytest.mark.timeout(180)

QUORUM = {"AMQP_SERVER_CONFIGURATION": "cluster"}
UNTIL_STOPPED = "while not ch.is_stopped(): time.sleep(0.02)"
SERVERS = pytest.mark.parametrize("server", ["standalone", "cluster"])


def limit_deliveries(scene: Scene, limit: int) -> None:
    """A policy of the operator, which no worker can read. RabbitMQ's own limit is 20 from 4.0 on."""
    scene.node.api.set_policy(scene.host.name, f"^{QUEUE}$", {"delivery-limit": limit})


async def test_orders_that_meet_a_job_that_is_initialised_again_and_again_are_run_and_never_blamed(scene: Scene):
    """Each stop lets an order in, which the next job then keeps from running."""
    orders = range(1, 9)
    # Where the end of consuming crosses with an order, the broker itself returns it, and from 4.3 on says so.
    limit = "0" if scene.node.is_strict else "4"
    async with scene.worker(**QUORUM, MESSAGE_TTL_LIMIT=limit) as worker:
        await worker.created(scene.tap)
        limit_deliveries(scene, 2)
        for job_id in range(100, 140):
            await scene.tap.direct(code_order(job_id, "", type="init_process"))
            # Refused, where an order runs already.
            await scene.tap.wait_until(lambda job_id=job_id: answered(scene, job_id))
            if job_id == 100:
                for order in orders:
                    await scene.submit(order)
            await scene.tap.direct({"type": "stop_process", "job_id": job_id, "parameters": []})
        for order in orders:
            await scene.ended(order)

        assert {order: scene.ends(order) for order in orders} == {order: ["job_completed"] for order in orders}
        assert [scene.runs(order) for order in orders] == [1] * len(orders)
        await scene.leaves_nothing(worker)


def answered(scene: Scene, job_id: int) -> bool:
    return any(m["body"]["job_id"] == job_id for m in scene.tap.out("worker_initialized", "job_error"))


@SERVERS
async def test_a_job_that_is_drained_again_and_again_is_neither_lost_nor_blamed(scene: Scene, server: str):
    drains = 4
    environment = {"AMQP_SERVER_CONFIGURATION": server, "MESSAGE_TTL_LIMIT": "0"}
    for drain in range(1, drains + 1):
        async with scene.worker(**environment, MCAI_SHUTDOWN_GRACE_SECONDS="0.1") as worker:
            await scene.tap.wait_for("worker_created", count=drain)
            if drain == 1:
                limit_deliveries(scene, 2)
                await scene.submit(1, f"if not os.path.exists({str(scene.folder / 'gate')!r}):\n  {UNTIL_STOPPED}")
            await scene.running(1, count=drain)
            worker.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0
            assert scene.ends(1) == []
    scene.open_gate()
    async with scene.worker(**environment) as worker:
        await scene.ended(1)
        await scene.leaves_nothing(worker)

    assert (scene.ends(1), scene.runs(1)) == (["job_completed"], drains + 1)


async def test_a_job_whose_workers_are_killed_is_reported_once_before_the_broker_would_drop_it(scene: Scene):
    limits = {**QUORUM, "MESSAGE_TTL_LIMIT": "2"}
    for attempt in (1, 2, 3):
        async with scene.worker(**limits) as worker:
            await scene.tap.wait_for("worker_created", count=attempt)
            if attempt == 1:
                limit_deliveries(scene, 1)
                await scene.submit(1, "time.sleep(60)")
            await scene.running(1, count=attempt)
            assert scene.ends(1) == []
            worker.send_signal(signal.SIGKILL)
            await worker.ended()
    async with scene.worker(**limits) as worker:
        error = await scene.ended(1)
        await scene.works()
        await scene.leaves_nothing(worker)

    assert "came back 3 times without a result" in text_of(error)
    assert "MESSAGE_TTL_LIMIT is 2" in text_of(error)
    assert (scene.ends(1), scene.runs(1)) == (["job_error"], 3)


@pytest.mark.parametrize("end", ["completed", "killed"])
async def test_a_job_that_loses_its_link_again_and_again_keeps_its_order(scene: Scene, end: str):
    """The broker counts each loss; an order beyond its limit would be gone when the worker is, too."""
    async with scene.worker(**QUORUM) as worker:
        await worker.created(scene.tap)
        limit_deliveries(scene, 3)
        await scene.submit_gated(1)
        for loss in range(1, 6):
            for connection in await scene.connections():
                scene.node.api.close_connection(connection["name"])
            await scene.tap.wait_for("worker_discovery", count=loss + 1)
            # Back with its worker: there is no other, and it has no other order.
            await eventually(lambda: held(scene), lambda count: count == 1)
        if end == "killed":
            worker.send_signal(signal.SIGKILL)
            await worker.ended()
        scene.open_gate()
        if end == "completed":
            await scene.ended(1)
            await scene.leaves_nothing(worker)
    if end == "killed":
        async with scene.worker(**QUORUM) as successor:
            await scene.ended(1)
            await scene.leaves_nothing(successor)

    assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1 if end == "completed" else 2)


def held(scene: Scene) -> int:
    """How many orders a worker has in hand, as the broker sees it."""
    return int(scene.node.api.queue(scene.host.name, QUEUE).get("messages_unacknowledged", 0))
