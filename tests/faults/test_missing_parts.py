"""Somebody deletes what a worker declared, under the running worker: it is declared again before it is needed."""

from __future__ import annotations

import signal
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.kit import Scene, parameter
from tests.support.rabbitmq import RabbitMqNode, VirtualHost, eventually
from tests.support.tap import TAP_QUEUE, Tap
from tests.support.workers import WorkerProcess

SERVERS = pytest.mark.parametrize("server", ["standalone", "cluster"])


def delete_exchange(scene: Scene) -> None:
    scene.node.api.delete_exchange(scene.host.name, "job_delayed")


def delete_queue(scene: Scene) -> None:
    scene.node.api.delete_queue(scene.host.name, "job_delayed")


def delete_both(scene: Scene) -> None:
    delete_exchange(scene)
    delete_queue(scene)


def unbind(scene: Scene) -> None:
    scene.node.api.unbind(scene.host.name, "job_delayed", "job_delayed")


def let_expire(scene: Scene) -> None:
    """A policy for queues that nobody uses; none consumes the delay queue."""
    scene.node.api.set_policy(scene.host.name, ".*_delayed$", {"expires": 100})


WAYS = pytest.mark.parametrize("remove", [delete_exchange, delete_queue, delete_both, unbind, let_expire])


async def removed(scene: Scene, remove: Callable[[Scene], None]) -> None:
    remove(scene)
    if remove is let_expire:
        await eventually(lambda: "job_delayed" in queues_of(scene), lambda there: not there)
        scene.node.api.set_policy(scene.host.name, "^no_queue$", {"expires": 100})


def queues_of(scene: Scene) -> list[str]:
    return [queue["name"] for queue in scene.node.api.queues(scene.host.name)]


@WAYS
async def test_an_order_that_is_delayed_comes_back_whatever_of_the_delay_was_removed(
    scene: Scene, remove: Callable[[Scene], None]
):
    wanted = scene.folder / "wanted"
    requirements = parameter("requirements", {"paths": [str(wanted)]}, "requirements")
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await removed(scene, remove)
        await scene.submit(1, parameters=(requirements,))
        await eventually(lambda: "Required paths do not exist yet" in worker.log, bool)
        wanted.touch()
        await scene.works(2)
        await scene.ended(1)

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


@SERVERS
@WAYS
async def test_an_order_of_a_killed_worker_comes_back_whatever_of_the_delay_was_removed(
    scene: Scene, remove: Callable[[Scene], None], server: str
):
    environment = {"AMQP_SERVER_CONFIGURATION": server}
    async with scene.worker(**environment) as one, scene.worker(**environment) as other:
        await scene.tap.wait_for("worker_created", count=2)
        await scene.submit_gated(1)
        busy, idle = (one, other) if await runs_job(scene, one) else (other, one)
        await removed(scene, remove)
        busy.send_signal(signal.SIGKILL)
        await busy.ended()
        scene.open_gate()
        await scene.ended(1)

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 2)
        await scene.leaves_nothing(idle)


async def runs_job(scene: Scene, worker: WorkerProcess) -> bool:
    """Whether the first job that reported itself runs in this worker."""
    (progression, *_) = await scene.tap.wait_for("job_progression")
    return progression["body"]["docker_container_id"] in worker.log


async def test_a_result_arrives_when_its_exchange_was_removed_meanwhile(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        scene.node.api.delete_exchange(scene.host.name, "job_response")
        scene.open_gate()
        await listen_again(scene, "job_response")
        await scene.ended(1)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_status_is_answered_when_its_exchange_was_removed_meanwhile(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        scene.node.api.delete_exchange(scene.host.name, "worker_response")
        await scene.tap.direct({"type": "status"})
        await listen_again(scene, "worker_response")
        await scene.status()
        scene.open_gate()
        await scene.ended(1)

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def listen_again(scene: Scene, exchange: str) -> None:
    """Bind the tap to an exchange once it is there again, as StepFlow binds its queues."""

    def bind() -> bool:
        try:
            scene.node.api.bind(scene.host.name, exchange, TAP_QUEUE, "#")
        except urllib.error.HTTPError:
            return False
        return True

    await eventually(bind, bool)


async def test_an_answer_that_may_not_be_published_keeps_no_result_from_arriving(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        scene.node.api.set_permissions(scene.host.name, scene.host.username, write="^(?!worker_response$).*")
        # A channel asks for each permission once.
        for connection in await scene.connections():
            scene.node.api.close_connection(connection["name"])
        await scene.tap.wait_for("worker_discovery", count=2)
        for job_id in range(1, 4):
            await scene.tap.direct({"type": "status"})
            await scene.submit(job_id)
            await scene.ended(job_id)
        scene.node.api.set_permissions(scene.host.name, scene.host.username)
        await scene.works()

        assert "The message worker_status is refused: 403 ACCESS_REFUSED" in worker.log
        assert [scene.ends(job_id) for job_id in range(1, 4)] == [["job_completed"]] * 3
        await scene.leaves_nothing(worker)


async def test_a_job_runs_on_over_a_virtual_host_that_is_deleted_and_made_anew(
    rabbitmq_node: RabbitMqNode, tmp_path: Path
):
    """Its order is gone with the virtual host; its result is not."""
    with rabbitmq_node.vhost() as host:
        async with Tap(host) as tap:
            scene = Scene(rabbitmq_node, host, tap, tmp_path)
            async with scene.worker() as worker:
                await worker.created(tap)
                await scene.submit_gated(1)
                make_anew(rabbitmq_node, host)
                await tap.wait_for("worker_discovery", count=2)
                scene.open_gate()
                await scene.ended(1)
                await scene.works()

                assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
                await scene.leaves_nothing(worker)


def make_anew(node: RabbitMqNode, host: VirtualHost) -> None:
    node.api.delete_vhost(host.name)
    node.api.create_vhost(host.name, username=host.username, password=host.password)
