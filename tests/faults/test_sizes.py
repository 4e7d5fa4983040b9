"""What is too large for the broker, and what could be: texts as long as an order, results, answers, orders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.kit import Scene, parameter, text_of
from tests.support.backend import BackendStandIn
from tests.support.rabbitmq import RabbitMqNode, eventually
from tests.support.workers import QUEUE, code_order

MESSAGE_LIMIT_BYTES = 4096
MANY = 20_000


@pytest.fixture
def narrow_node(rabbitmq_node: RabbitMqNode) -> Iterator[RabbitMqNode]:
    """Takes messages of at most 100,000 bytes."""
    rabbitmq_node.set_max_message_size(100_000)
    yield rabbitmq_node
    rabbitmq_node.set_max_message_size(134_217_728)


LONG = "x" * 1_000_000
MISSING = parameter("requirements", {"paths": [f"/no/such/{number}" for number in range(MANY)]}, "requirements")
#: Orders whose failure would be told in a text as long as the order, or longer; sent before the limit is in force.
ORDERS = {
    "parameters without a name": {"job_id": 1, "parameters": [{}] * MANY},
    "unknown parameters": code_order(1, "", parameters=[parameter(f"p{n}", n, "integer") for n in range(MANY)]),
    "one long unknown parameter": code_order(1, "", parameters=[parameter(LONG, 1, "integer")]),
    "missing files": code_order(1, "", parameters=[parameter("code", ""), MISSING]),
    "a long type": {"job_id": 1, "type": LONG, "parameters": []},
    "an exception": code_order(1, f"raise ValueError('x' * {len(LONG)})"),
    "an error message": code_order(
        1, f"ch.set_job_status(mcai.JobStatus.Error); ch.set_error_message('x' * {len(LONG)})"
    ),
    "a credential of a long name": code_order(1, "", parameters=[{**parameter("code", LONG), "store": "env"}]),
    "a store of a long name": code_order(1, "", parameters=[{**parameter("code", "KEY"), "store": LONG}]),
}


async def test_a_failure_is_told_in_few_words_however_long_its_order_is(scene: Scene):
    async with scene.worker(MESSAGE_SOFT_LIMIT="0") as worker:
        await worker.created(scene.tap)
        for number, order in enumerate(ORDERS.values(), start=1):
            await scene.tap.submit(QUEUE, {**order, "job_id": number})
            error = await scene.ended(number)
            assert error["routing_key"] == "job_error"
            assert len(text_of(error).encode()) <= MESSAGE_LIMIT_BYTES
        await scene.works()
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize("job_id", [{}, {"job_id": 1}], ids=["of no job", "of a job"])
async def test_an_order_of_nothing_but_faults_is_settled_on_a_broker_of_small_messages(
    narrow_node: RabbitMqNode, scene: Scene, job_id: dict
):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.tap.submit(QUEUE, {**job_id, "parameters": [{}] * MANY})
        (error,) = await scene.tap.wait_for("job_error")
        await scene.works()

        assert "parameters.0.id is missing" in text_of(error)
        await scene.leaves_nothing(worker)


async def test_what_the_broker_finds_too_large_costs_that_and_nothing_else(narrow_node: RabbitMqNode, scene: Scene):
    with BackendStandIn() as backend:
        backend.black_list = list(range(10**6, 10**6 + MANY))
        async with scene.worker(**backend.environ()) as worker:
            await worker.created(scene.tap)
            await scene.submit(1, "ret = {'destination_paths': ['x' * 200_000]}")
            error = await scene.ended(1)
            await scene.tap.direct({"type": "get_black_list"})
            await eventually(lambda: "An answer is not published" in worker.log, bool)
            await scene.works()

            assert "Write large results to a file and return its path." in text_of(error)
            assert (scene.ends(1), scene.runs(1)) == (["job_error"], 1)
            assert scene.tap.out("worker_black_list") == []
            await scene.leaves_nothing(worker)


async def test_an_order_that_has_become_too_large_to_be_delayed_ends_in_an_error(
    rabbitmq_node: RabbitMqNode, scene: Scene
):
    """It came while the broker took larger messages."""
    missing = parameter("requirements", {"paths": ["/no/such/file"]}, "requirements")
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.tap.direct({"type": "stop_consuming_jobs"})
        await scene.tap.wait_for("worker_status")
        await scene.submit(1, "# " + "x" * 200_000, parameters=(missing,))
        await eventually(lambda: scene.node.api.queue(scene.host.name, QUEUE).get("messages", 0), bool)
        rabbitmq_node.set_max_message_size(100_000)
        try:
            await close_link(scene)
            await scene.tap.direct({"type": "resume_consuming_jobs"})
            error = await scene.ended(1)
            await scene.works()
        finally:
            rabbitmq_node.set_max_message_size(134_217_728)

        assert "The order cannot go through the delay queue. The message job_test is 2" in text_of(error)
        assert (scene.ends(1), scene.runs(1)) == (["job_error"], 0)
        await scene.leaves_nothing(worker)


async def close_link(scene: Scene) -> None:
    """The size that a channel takes is read when it is opened."""
    discovered = len(scene.tap.out("worker_discovery"))
    for connection in await scene.connections():
        scene.node.api.close_connection(connection["name"])
    await scene.tap.wait_for("worker_discovery", count=discovered + 1)
