"""The link between worker and broker is lost, in every way and at every moment: one run, one terminal message."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.faults.kit import CuttingProxy, Scene
from tests.support.proxy import TcpProxy
from tests.support.rabbitmq import eventually
from tests.support.tap import Tap

HEARTBEAT_SECONDS = 2


async def linked_again(tap: Tap, times: int = 1) -> None:
    """Wait until the worker has announced itself on another link."""
    await tap.wait_for("worker_discovery", count=1 + times)


async def test_an_idle_link_closed_by_the_management_api_comes_back(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        (ours,) = await scene.connections()
        closed = time.monotonic()
        scene.node.api.close_connection(ours["name"])
        await linked_again(scene.tap)
        recovered = time.monotonic() - closed
        await scene.works()

        assert "CONNECTION_FORCED" in worker.log
        assert scene.tap.keys().count("worker_created") == 1
        assert recovered < 2 * HEARTBEAT_SECONDS
        await scene.leaves_nothing(worker)


async def test_a_job_runs_on_while_the_management_api_closes_its_link(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        (ours,) = await scene.connections()
        scene.node.api.close_connection(ours["name"])
        await linked_again(scene.tap)
        busy = await scene.status()
        scene.open_gate()
        await scene.ended(1)
        await scene.works()

        assert (busy["worker"]["activity"], busy["job"]["job_id"]) == ("Busy", 1)
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_a_job_can_be_stopped_after_its_link_was_lost(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, "while not ch.is_stopped(): time.sleep(0.02)")
        await scene.running(1)
        (ours,) = await scene.connections()
        scene.node.api.close_connection(ours["name"])
        await linked_again(scene.tap)
        await scene.tap.direct({"type": "stop_process", "job_id": 1})
        await scene.ended(1)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_stopped"], 1)
        await scene.leaves_nothing(worker)


async def test_a_job_runs_on_over_a_cut_link_that_stays_away(scene: Scene):
    async with TcpProxy(scene.host.port) as proxy, scene.worker(port=proxy.port) as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1, "ch.publish_job_progression(70)")
        proxy.cut()
        # Several attempts in vain, as the order lies in the queue again.
        refused = proxy.accepted
        await eventually(lambda: proxy.accepted, lambda accepted: accepted >= refused + 3)
        proxy.resume()
        await linked_again(scene.tap)
        scene.open_gate()
        await scene.ended(1)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        assert 70 in [m["body"]["progression"] for m in scene.tap.out("job_progression")]
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize(
    ("code", "key"), [("", "job_completed"), ("raise ValueError('broken')", "job_error"), ("os._exit(2)", "job_error")]
)
async def test_a_job_that_ends_while_the_link_is_cut_is_reported_once_and_not_run_again(
    scene: Scene, code: str, key: str
):
    async with TcpProxy(scene.host.port) as proxy, scene.worker(port=proxy.port) as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1, f"\nwith open({str(scene.folder / 'through')!r}, 'w'): pass\n{code}")
        proxy.cut()
        await eventually(lambda: "is lost" in worker.log, bool)
        scene.open_gate()
        await eventually((scene.folder / "through").exists, bool)
        assert scene.ends(1) == []
        proxy.resume()
        await scene.ended(1)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == ([key], 1)
        await scene.leaves_nothing(worker)


async def test_a_link_cut_between_result_and_acknowledgement_costs_nothing(scene: Scene):
    async with CuttingProxy(scene.host.port) as proxy, scene.worker(port=proxy.port) as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        proxy.cut_at_acknowledgement("worker")
        scene.open_gate()
        await proxy.has_cut.wait()
        await linked_again(scene.tap)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_a_link_cut_before_the_result_is_confirmed_sends_the_same_result_again(scene: Scene):
    async with CuttingProxy(scene.host.port) as proxy, scene.worker(port=proxy.port) as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1, "ret = {'destination_paths': ['/a']}")
        proxy.cut_at_acknowledgement("broker")
        scene.open_gate()
        await proxy.has_cut.wait()
        await linked_again(scene.tap)
        await scene.works()

        # The broker had it, the worker cannot know: the one case in which a result comes twice, word for word.
        bodies = [m["body"] for m in scene.tap.out("job_completed") if m["body"]["job_id"] == 1]
        assert len(bodies) == 2
        assert bodies[0] == bodies[1]
        assert scene.runs(1) == 1
        await scene.leaves_nothing(worker)


async def test_a_half_open_link_is_noticed_and_left_within_two_heartbeats(scene: Scene):
    async with (
        TcpProxy(scene.host.port) as proxy,
        scene.worker(port=proxy.port, AMQP_HEARTBEAT_SECONDS=str(HEARTBEAT_SECONDS)) as worker,
    ):
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        connections = proxy.accepted
        frozen = time.monotonic()
        proxy.freeze()
        await eventually(lambda: proxy.accepted, lambda accepted: accepted > connections)
        noticed = time.monotonic() - frozen
        proxy.resume()
        await linked_again(scene.tap)
        scene.open_gate()
        await scene.ended(1)
        await scene.works()

        assert noticed < 2 * HEARTBEAT_SECONDS
        assert "has been silent for" in worker.log
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_a_result_sent_into_a_half_open_link_arrives_on_the_next(scene: Scene):
    async with (
        TcpProxy(scene.host.port) as proxy,
        scene.worker(port=proxy.port, AMQP_HEARTBEAT_SECONDS=str(HEARTBEAT_SECONDS)) as worker,
    ):
        await worker.created(scene.tap)
        await scene.submit_gated(1, f"\nwith open({str(scene.folder / 'through')!r}, 'w'): pass")
        connections = proxy.accepted
        proxy.freeze()
        scene.open_gate()
        await eventually((scene.folder / "through").exists, bool)
        await eventually(lambda: proxy.accepted, lambda accepted: accepted > connections)
        # The frozen bytes are lost with their connection, as those on a dead line are.
        proxy.cut_once()
        proxy.resume()
        await scene.ended(1)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_a_link_that_flaps_costs_no_job(scene: Scene):
    async with TcpProxy(scene.host.port) as proxy, scene.worker(port=proxy.port) as worker:
        await worker.created(scene.tap)
        flapping = asyncio.create_task(flap(proxy, times=3))
        for job_id in range(1, 6):
            await scene.submit(job_id, "time.sleep(0.4)")
        await flapping
        for job_id in range(1, 6):
            await scene.ended(job_id)
        await scene.works()

        assert [scene.runs(job_id) for job_id in range(1, 6)] == [1] * 5
        assert {key for job_id in range(1, 6) for key in scene.ends(job_id)} == {"job_completed"}
        await scene.leaves_nothing(worker)


async def flap(proxy: TcpProxy, times: int) -> None:
    for _ in range(times):
        taken = proxy.accepted
        proxy.cut_once()
        await eventually(lambda taken=taken: proxy.accepted > taken, bool)
        await asyncio.sleep(0.3)
