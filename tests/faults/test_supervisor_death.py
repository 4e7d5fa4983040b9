"""The supervisor is killed in the middle of a job: nothing of it lives on, and its order runs again, so many times."""

from __future__ import annotations

import signal

import pytest

from tests.faults.kit import Scene, gone, text_of

HOLD_GIL = "ctypes.PyDLL(None).usleep(60_000_000)"


@pytest.mark.parametrize("code", ["time.sleep(60)", HOLD_GIL], ids=["python", "gil"])
async def test_the_job_process_dies_with_its_supervisor(scene: Scene, code: str):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, code)
        await scene.running(1)
        job_process = worker.job_process
        worker.send_signal(signal.SIGKILL)
        await gone(job_process, timeout_seconds=2)

    assert [order["job_id"] for order in scene.orders_left()] == [1]
    assert scene.ends(1) == []


async def test_an_order_of_killed_workers_is_tried_again_up_to_the_limit_and_then_reported_once(scene: Scene):
    limit = {"MESSAGE_TTL_LIMIT": "1"}
    for attempt in (1, 2):
        async with scene.worker(**limit) as worker:
            await scene.tap.wait_for("worker_created", count=attempt)
            if attempt == 1:
                await scene.submit(1, "time.sleep(60)")
            await scene.running(1, count=attempt)
            assert scene.ends(1) == []
            worker.send_signal(signal.SIGKILL)
            await worker.ended()
    async with scene.worker(**limit) as worker:
        error = await scene.ended(1)
        await scene.works()
        await scene.leaves_nothing(worker)

    assert "MESSAGE_TTL_LIMIT is 1" in text_of(error)
    assert (scene.ends(1), scene.runs(1)) == (["job_error"], 2)


async def test_an_order_of_a_killed_worker_is_completed_by_the_next(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        worker.send_signal(signal.SIGKILL)
        await worker.ended()
    scene.open_gate()
    async with scene.worker() as worker:
        await scene.ended(1)
        await scene.works()
        await scene.leaves_nothing(worker)

    assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 2)


async def test_a_worker_killed_while_it_is_idle_loses_nothing(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        job_process = worker.job_process
        worker.send_signal(signal.SIGKILL)
        await gone(job_process, timeout_seconds=2)
        await worker.ended()
    await scene.submit(1)
    async with scene.worker() as worker:
        await scene.ended(1)
        await scene.leaves_nothing(worker)

    assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
