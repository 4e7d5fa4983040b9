"""The worker is told to end: it drains, stops what does not end, gives the order back, says goodbye, and exits 0."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.faults.kit import Scene
from tests.support.proxy import TcpProxy
from tests.support.rabbitmq import eventually, free_port

UNTIL_STOPPED = "while not ch.is_stopped(): time.sleep(0.02)"
IGNORING = "time.sleep(60)"
SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_an_idle_worker_says_goodbye(scene: Scene, number: signal.Signals):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.leaves_nothing(worker, number)
        await scene.tap.wait_for("worker_terminated")

    assert scene.tap.keys() == ["worker_discovery", "worker_created", "worker_terminated"]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_the_running_job_may_finish_within_the_grace_and_no_other_begins(scene: Scene, number: signal.Signals):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        await scene.submit(2)
        worker.send_signal(number)
        await eventually(lambda: "takes no more jobs" in worker.log, bool)
        # Told to end, it still answers.
        await scene.status()
        scene.open_gate()
        exit_code = await worker.ended()
        await scene.tap.wait_for("worker_terminated")

    assert exit_code == 0
    assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
    assert (scene.ends(2), scene.runs(2)) == ([], 0)
    assert [order["job_id"] for order in scene.orders_left()] == [2]
    assert scene.tap.keys()[-1] == "worker_terminated"


async def test_a_job_beyond_the_grace_is_stopped_and_its_order_put_back(scene: Scene):
    async with scene.worker(MCAI_SHUTDOWN_GRACE_SECONDS="0.5") as worker:
        await worker.created(scene.tap)
        await scene.submit(1, UNTIL_STOPPED)
        await scene.running(1)
        worker.send_signal(signal.SIGTERM)
        exit_code = await worker.ended()
        await scene.tap.wait_for("worker_terminated")

    assert exit_code == 0
    assert (scene.ends(1), scene.runs(1)) == ([], 1)
    assert [order["job_id"] for order in scene.orders_left()] == [1]


async def test_a_job_that_ignores_the_stop_is_killed_and_its_order_put_back(scene: Scene):
    async with scene.worker(MCAI_SHUTDOWN_GRACE_SECONDS="0.5") as worker:
        await worker.created(scene.tap)
        await scene.submit(1, IGNORING)
        await scene.running(1)
        worker.send_signal(signal.SIGTERM)
        exit_code = await worker.ended(timeout_seconds=10)
        await scene.tap.wait_for("worker_terminated")

    assert exit_code == 0
    assert (scene.ends(1), scene.runs(1)) == ([], 1)
    assert [order["job_id"] for order in scene.orders_left()] == [1]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_a_second_signal_ends_the_worker_at_once(scene: Scene, number: signal.Signals):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, IGNORING)
        await scene.running(1)
        job_process = worker.job_process
        worker.send_signal(number)
        await eventually(lambda: "takes no more jobs" in worker.log, bool)
        worker.send_signal(number)
        exit_code = await worker.ended(timeout_seconds=5)
        assert not job_process.is_running()

    assert exit_code != 0
    assert "ends at once" in worker.log
    assert (scene.ends(1), scene.runs(1)) == ([], 1)
    assert [order["job_id"] for order in scene.orders_left()] == [1]


async def test_a_signal_before_the_worker_was_connected_ends_it(scene: Scene):
    async with scene.worker(port=free_port()) as worker:
        await eventually(lambda: "Next attempt in" in worker.log, bool)
        worker.send_signal(signal.SIGTERM)

        assert await worker.ended(timeout_seconds=5) == 0
        assert "before it was connected" in worker.log


async def test_a_signal_while_the_broker_does_not_answer_ends_the_worker(scene: Scene):
    async with TcpProxy(scene.host.port) as proxy:
        proxy.freeze()
        async with scene.worker(port=proxy.port) as worker:
            await eventually(lambda: proxy.accepted, bool)
            worker.send_signal(signal.SIGTERM)

            assert await worker.ended(timeout_seconds=5) == 0


async def test_a_signal_during_a_long_setup_ends_the_worker(scene: Scene):
    async with scene.worker(TEST_SETUP_CODE="time.sleep(60)") as worker:
        await scene.tap.wait_for("worker_discovery")
        worker.send_signal(signal.SIGTERM)

        assert await worker.ended(timeout_seconds=10) == 0


async def test_a_worker_that_can_run_no_more_jobs_ends_also_while_its_link_is_cut(scene: Scene):
    """The job took its process along, and the next one cannot be set up. Its order is left to another worker."""
    crashed = scene.folder / "crashed"
    setup = f"if os.path.exists({str(crashed)!r}): raise OSError('The licence server is away.')"
    async with (
        TcpProxy(scene.host.port) as proxy,
        scene.worker(port=proxy.port, TEST_SETUP_CODE=setup) as worker,
    ):
        await worker.created(scene.tap)
        await scene.submit_gated(1, f"\nopen({str(crashed)!r}, 'w').close(); os._exit(3)")
        proxy.cut()
        await eventually(lambda: "is lost" in worker.log, bool)
        scene.open_gate()
        exit_code = await worker.ended(timeout_seconds=30)

    assert exit_code == 1
    assert "The worker cannot run jobs: " in worker.log
    assert scene.ends(1) == []
    assert [order["job_id"] for order in scene.orders_left()] == [1]


async def test_a_signal_while_the_link_is_half_open_ends_the_worker(scene: Scene):
    async with TcpProxy(scene.host.port) as proxy, scene.worker(port=proxy.port) as worker:
        await worker.created(scene.tap)
        proxy.freeze()
        worker.send_signal(signal.SIGTERM)

        assert await worker.ended(timeout_seconds=10) == 0


async def test_stop_worker_ends_an_idle_worker(scene: Scene):
    async with scene.worker() as worker:
        instance_id = await worker.created(scene.tap)
        await scene.tap.direct({"type": "stop_worker"}, instance_id=instance_id)
        exit_code = await worker.ended()
        await scene.tap.wait_for("worker_terminated")

    assert exit_code == 0
    assert scene.orders_left() == []


async def test_stop_worker_lets_the_running_job_finish(scene: Scene):
    async with scene.worker() as worker:
        instance_id = await worker.created(scene.tap)
        await scene.submit_gated(1)
        await scene.tap.direct({"type": "stop_worker"}, instance_id=instance_id)
        await scene.status()
        scene.open_gate()
        exit_code = await worker.ended()
        await scene.tap.wait_for("worker_terminated")

    assert exit_code == 0
    assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
    assert scene.orders_left() == []


async def test_stop_worker_stops_a_job_beyond_the_grace_and_puts_its_order_back(scene: Scene):
    async with scene.worker(MCAI_SHUTDOWN_GRACE_SECONDS="0.5") as worker:
        instance_id = await worker.created(scene.tap)
        await scene.submit(1, IGNORING)
        await scene.running(1)
        await scene.tap.direct({"type": "stop_worker"}, instance_id=instance_id)
        exit_code = await worker.ended(timeout_seconds=10)
        await scene.tap.wait_for("worker_terminated")

    assert exit_code == 0
    assert (scene.ends(1), scene.runs(1)) == ([], 1)
    assert [order["job_id"] for order in scene.orders_left()] == [1]


async def test_an_order_put_back_by_one_worker_is_run_by_the_next(scene: Scene):
    async with scene.worker(MCAI_SHUTDOWN_GRACE_SECONDS="0") as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        worker.send_signal(signal.SIGTERM)
        await worker.ended(timeout_seconds=10)
    scene.open_gate()
    async with scene.worker() as worker:
        asked = asyncio.get_running_loop().time()
        await scene.ended(1)
        took = asyncio.get_running_loop().time() - asked
        await scene.leaves_nothing(worker)

    assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 2)
    assert took < 15


async def test_ctrl_c_in_a_terminal_reaches_the_job_through_the_supervisor_only(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        os.killpg(worker.pid, signal.SIGINT)
        scene.open_gate()

        assert await worker.ended() == 0
    assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
