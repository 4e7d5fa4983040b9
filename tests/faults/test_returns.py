"""Orders that come back: to a worker that takes no more of them, or long after it was done with the like."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mcai_worker_sdk.supervisor.broker import RETURN_SECONDS
from tests.faults.kit import Scene
from tests.support.proxy import TcpProxy
from tests.support.rabbitmq import eventually
from tests.support.workers import QUEUE, WorkerProcess, code_order

#: Short, so that the broker cannot take long to notice what it lost.
HEARTBEAT = {"AMQP_HEARTBEAT_SECONDS": "2"}


async def close_link(scene: Scene) -> None:
    """Let the broker close the worker's connection, and wait for the next."""
    discovered = len(scene.tap.out("worker_discovery"))
    (ours,) = await scene.connections()
    scene.node.api.close_connection(ours["name"])
    await scene.tap.wait_for("worker_discovery", count=discovered + 1)


async def tell(scene: Scene, order_type: str, instance_id: str) -> None:
    answered = len(scene.tap.out("worker_status"))
    await scene.tap.direct({"type": order_type}, instance_id=instance_id)
    await scene.tap.wait_for("worker_status", count=answered + 1)


async def nothing_is_left_for_the_next_worker(scene: Scene, worker: WorkerProcess) -> None:
    assert await worker.ended() == 0
    assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
    assert scene.orders_left() == []


@asynccontextmanager
async def last_job_ended_without_link(
    scene: Scene, proxy: TcpProxy, **environment: str
) -> AsyncIterator[WorkerProcess]:
    """A worker whose last job ended while its link is cut; inside, the link still is."""
    async with scene.worker(port=proxy.port, MCAI_MAX_JOBS="1", **environment) as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1, f"\nwith open({str(scene.folder / 'through')!r}, 'w'): pass")
        proxy.cut()
        await eventually(lambda: "is lost" in worker.log, bool)
        scene.open_gate()
        await eventually((scene.folder / "through").exists, bool)
        yield worker


async def somebody_else_takes_the_order(scene: Scene) -> None:
    taken = await eventually(lambda: scene.node.api.get(scene.host.name, QUEUE), bool)
    assert len(taken) == 1


async def test_a_retry_that_another_worker_gave_back_is_run_and_reported(scene: Scene):
    runs = str(scene.folder / "runs")
    code = f"""
attempt = open({runs!r}).read().count("7")
if attempt == 1: raise OSError("The disk is full.")
while attempt == 2 and not ch.is_stopped(): time.sleep(0.02)
"""
    order = code_order(7, scene.marked(code))
    async with scene.worker(**HEARTBEAT) as first:
        instance_id = await first.created(scene.tap)
        await scene.tap.submit(QUEUE, order)
        await scene.ended(7)
        await close_link(scene)
        # Whatever the lost link may have brought back would have come by then.
        await asyncio.sleep(RETURN_SECONDS + 3)
        async with scene.worker(MCAI_SHUTDOWN_GRACE_SECONDS="0.1") as second:
            await second.created(scene.tap)
            await tell(scene, "stop_consuming_jobs", instance_id)
            await scene.tap.submit(QUEUE, order)
            await scene.running(7, 2)
            await tell(scene, "resume_consuming_jobs", instance_id)
            second.send_signal(signal.SIGTERM)
            assert await second.ended() == 0
        await scene.tap.wait_until(lambda: len(scene.ends(7)) == 2, 30)

        assert (scene.ends(7), scene.runs(7)) == (["job_error", "job_completed"], 3)
        await scene.leaves_nothing(first)


async def test_the_last_job_that_ends_without_its_link_leaves_no_order_behind(scene: Scene):
    async with TcpProxy(scene.host.port) as proxy, last_job_ended_without_link(scene, proxy) as worker:
        proxy.resume()
        await nothing_is_left_for_the_next_worker(scene, worker)


@pytest.mark.parametrize("order_type", ["SIGTERM", "stop_worker"])
async def test_a_job_that_loses_its_link_while_the_worker_drains_leaves_no_order_behind(scene: Scene, order_type: str):
    async with scene.worker() as worker:
        instance_id = await worker.created(scene.tap)
        await scene.submit_gated(1)
        if order_type == "SIGTERM":
            worker.send_signal(signal.SIGTERM)
            await eventually(lambda: "takes no more jobs" in worker.log, bool)
        else:
            await scene.tap.direct({"type": order_type}, instance_id=instance_id)
            await scene.status()
        await close_link(scene)
        scene.open_gate()
        await nothing_is_left_for_the_next_worker(scene, worker)


async def test_a_job_that_loses_its_link_in_a_suspended_worker_is_settled_and_no_other_is_taken(scene: Scene):
    async with scene.worker() as worker:
        instance_id = await worker.created(scene.tap)
        await scene.submit_gated(1)
        await scene.submit(2)
        await tell(scene, "stop_consuming_jobs", instance_id)
        await close_link(scene)
        scene.open_gate()
        await scene.ended(1)
        suspended = await scene.status()
        worker.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0

    assert suspended["worker"]["activity"] == "Suspended"
    assert (scene.ends(1), scene.runs(1), scene.runs(2)) == (["job_completed"], 1, 0)
    assert [order["job_id"] for order in scene.orders_left()] == [2]


async def test_a_last_result_in_a_half_open_link_leaves_no_order_behind(scene: Scene):
    async with (
        TcpProxy(scene.host.port) as proxy,
        scene.worker(port=proxy.port, MCAI_MAX_JOBS="1", **HEARTBEAT) as worker,
    ):
        await worker.created(scene.tap)
        await scene.submit_gated(1, f"\nwith open({str(scene.folder / 'through')!r}, 'w'): pass")
        connections = proxy.accepted
        proxy.freeze()
        scene.open_gate()
        await eventually((scene.folder / "through").exists, bool)
        await eventually(lambda: proxy.accepted, lambda accepted: accepted > connections)
        proxy.cut_once()
        proxy.resume()
        await nothing_is_left_for_the_next_worker(scene, worker)


async def test_an_order_that_does_not_come_back_keeps_no_worker_from_its_end(scene: Scene):
    async with TcpProxy(scene.host.port) as proxy, last_job_ended_without_link(scene, proxy) as worker:
        await somebody_else_takes_the_order(scene)
        proxy.resume()
        await nothing_is_left_for_the_next_worker(scene, worker)


async def test_a_worker_that_waits_for_an_order_ends_at_once_on_a_second_signal(scene: Scene):
    async with TcpProxy(scene.host.port) as proxy, last_job_ended_without_link(scene, proxy) as worker:
        await somebody_else_takes_the_order(scene)
        proxy.resume()
        await scene.ended(1)
        worker.send_signal(signal.SIGTERM)
        await eventually(lambda: "takes no more jobs" in worker.log, bool)
        worker.send_signal(signal.SIGTERM)

        assert await worker.ended(timeout_seconds=10) == 128 + signal.SIGTERM


async def test_another_order_that_meets_a_waiting_worker_is_put_back_and_ends_the_waiting(scene: Scene):
    async with TcpProxy(scene.host.port) as proxy, last_job_ended_without_link(scene, proxy) as worker:
        await somebody_else_takes_the_order(scene)
        await scene.submit(2)
        proxy.resume()
        assert await worker.ended() == 0

    assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
    assert (scene.ends(2), scene.runs(2)) == ([], 0)
    assert [order["job_id"] for order in scene.orders_left()] == [2]
