"""The broker itself goes and comes back: idle, in the middle of a job, and while a result waits for it."""

from __future__ import annotations

import asyncio
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.faults.kit import Scene, text_of
from tests.support.rabbitmq import eventually, free_port
from tests.support.tap import Tap

pytestmark = pytest.mark.timeout(120)


async def test_a_broker_that_stops_and_starts_again_costs_neither_the_idle_nor_the_busy(scene: Scene, tmp_path: Path):
    with scene.node.vhost() as host:
        (tmp_path / "idle").mkdir()
        async with Tap(host) as tap, scene.worker() as worker:
            idle = Scene(scene.node, host, tap, tmp_path / "idle")
            async with idle.worker() as idle_worker:
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
        before = ask(port, "/ready")
        await scene.submit_gated(1, "raise ValueError('said while the broker was away')")
        await asyncio.to_thread(scene.node.kill)
        try:
            during = await eventually_ready(port, 503)
            live = ask(port, "/live")
            metrics = ask(port, "/metrics")
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


@pytest.mark.parametrize("state", ["idle", "busy", "result"])
async def test_a_worker_ends_in_good_order_while_the_broker_is_away(scene: Scene, state: str):
    """An order whose result could not be published is run again: by the next worker, as after any lost worker."""
    async with scene.worker(MCAI_SHUTDOWN_GRACE_SECONDS="1") as worker:
        await worker.created(scene.tap)
        if state != "idle":
            await scene.submit_gated(1)
        await asyncio.to_thread(scene.node.kill)
        try:
            await eventually(lambda: "is lost" in worker.log, bool)
            if state == "result":
                scene.open_gate()
            worker.send_signal(signal.SIGTERM)
            asked = asyncio.get_running_loop().time()
            exit_code = await worker.ended()
            took = asyncio.get_running_loop().time() - asked
        finally:
            await asyncio.to_thread(scene.node.start)
        left = scene.orders_left()

    assert exit_code == 0
    assert took < 10.0
    assert [order["job_id"] for order in left] == ([] if state == "idle" else [1])
    assert scene.ends(1) == []


def ask(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def eventually_ready(port: int, status: int) -> tuple[int, bytes]:
    return await eventually(lambda: ask(port, "/ready"), lambda answer: answer[0] == status)
