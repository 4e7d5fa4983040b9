"""The broker itself goes and comes back: idle, in the middle of a job, and while a result waits for it."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.faults.kit import Scene, http, text_of
from tests.support.rabbitmq import eventually, free_port

pytestmark = pytest.mark.timeout(120)


async def test_a_broker_that_stops_and_starts_again_costs_neither_the_idle_nor_the_busy(scene: Scene):
    async with scene.beside("idle") as idle, scene.worker() as worker, idle.worker() as idle_worker:
        await worker.created(scene.tap)
        await idle_worker.created(idle.tap)
        await scene.submit_gated(1)
        await scene.restart_broker()
        for one in (scene, idle):
            await one.tap.wait_for("worker_discovery", count=2)
        scene.open_gate()
        await scene.ended(1)
        await scene.works()
        await idle.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        assert idle.tap.keys().count("worker_created") == 1
        await scene.leaves_nothing(worker)
        await idle.leaves_nothing(idle_worker)


async def test_a_job_runs_on_over_a_broker_that_is_killed(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        await asyncio.to_thread(scene.node.kill)
        await asyncio.to_thread(scene.node.start)
        await scene.tap.wait_for("worker_discovery", count=2)
        scene.open_gate()
        await scene.ended(1)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_results_wait_for_the_broker_and_health_says_alive_but_not_ready(scene: Scene):
    port = free_port()
    async with scene.worker(MCAI_HTTP_PORT=str(port)) as worker:
        await worker.created(scene.tap)
        before = http(port, "/ready")
        await scene.submit_gated(1, "raise ValueError('said while the broker was away')")
        await asyncio.to_thread(scene.node.kill)
        try:
            during = await eventually_ready(port, 503)
            live = http(port, "/live")
            metrics = http(port, "/metrics")
            scene.open_gate()
            await eventually(lambda: "said while the broker was away" in worker.log, bool)
        finally:
            await asyncio.to_thread(scene.node.start)
        error = await scene.ended(1)
        await scene.works()
        after = await eventually_ready(port, 200)

        assert (before[0], during[0], live[0], after[0]) == (200, 503, 200, 200)
        assert b"mcai_broker_connected 0.0" in metrics[1]
        assert "said while the broker was away" in text_of(error)
        assert (scene.ends(1), scene.runs(1)) == (["job_error"], 1)
        await scene.leaves_nothing(worker)


async def test_workers_end_in_good_order_while_the_broker_is_away(scene: Scene):
    """An order whose result could not be published is run again: by the next worker, as after any lost worker."""
    grace = {"MCAI_SHUTDOWN_GRACE_SECONDS": "1"}
    async with (
        scene.beside("idle") as idle,
        scene.beside("busy") as busy,
        scene.beside("result") as result,
        idle.worker(**grace) as idle_worker,
        busy.worker(**grace) as busy_worker,
        result.worker(**grace) as result_worker,
    ):
        scenes = {idle: idle_worker, busy: busy_worker, result: result_worker}
        for one, worker in scenes.items():
            await worker.created(one.tap)
        await busy.submit_gated(1)
        await result.submit_gated(1)
        await asyncio.to_thread(scene.node.stop)
        try:
            for worker in scenes.values():
                await eventually(lambda worker=worker: "is lost" in worker.log, bool)
            result.open_gate()
            loop = asyncio.get_running_loop()
            asked = loop.time()
            for worker in scenes.values():
                worker.send_signal(signal.SIGTERM)
            exit_codes = [await worker.ended() for worker in scenes.values()]
            took = loop.time() - asked
        finally:
            await asyncio.to_thread(scene.node.start)
        left = {one: [order["job_id"] for order in one.orders_left()] for one in scenes}

        assert exit_codes == [0, 0, 0]
        assert took < 12.0
        assert left == {idle: [], busy: [1], result: [1]}
        assert (busy.ends(1), result.ends(1)) == ([], [])


async def eventually_ready(port: int, status: int) -> tuple[int, bytes]:
    return await eventually(lambda: http(port, "/ready"), lambda answer: answer[0] == status)
