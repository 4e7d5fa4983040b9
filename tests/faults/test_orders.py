"""Direct messages on a whole worker: for the job in hand, for another, twice, too early and too late."""

from __future__ import annotations

from typing import Any

from tests.faults.kit import Scene, text_of
from tests.support.rabbitmq import eventually
from tests.support.workers import QUEUE, code_order

UNTIL_STOPPED = "while not ch.is_stopped(): time.sleep(0.02)"
BUSY = "Cannot initialize this job, an another job is already in progress."


def direct(scene: Scene, kind: str, job_id: int, code: str = "") -> dict[str, Any]:
    return {"type": kind, **code_order(job_id, scene.marked(code))}


async def test_init_and_start_run_a_job_once(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.tap.direct(direct(scene, "init_process", 1))
        await scene.tap.wait_for("worker_initialized")
        assert scene.runs(1) == 0
        await scene.tap.direct({"type": "start_process", "job_id": 1, "parameters": []})
        await scene.ended(1)
        await scene.works()

        assert len(scene.tap.out("worker_started")) == 1
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_a_queued_job_waits_while_another_is_initialised(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.tap.direct(direct(scene, "init_process", 1))
        await scene.tap.wait_for("worker_initialized")
        await scene.submit(2)
        await scene.status()
        assert scene.runs(2) == 0
        await scene.tap.direct({"type": "stop_process", "job_id": 1})
        await scene.ended(1)
        await scene.ended(2)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_stopped"], 0)
        assert (scene.ends(2), scene.runs(2)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_orders_for_other_jobs_leave_the_running_one_alone(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        await scene.tap.direct({"type": "stop_process", "job_id": 2})
        await scene.tap.direct({"type": "update_process", "job_id": 3, "parameters": []})
        await scene.tap.direct({"type": "start_process", "job_id": 4, "parameters": []})
        await scene.tap.direct(direct(scene, "init_process", 5))
        await scene.tap.direct({"type": "reached_expiration", "job_id": 6})
        for job_id in (4, 5, 6):
            await scene.ended(job_id)
        busy = await scene.status()
        scene.open_gate()
        await scene.ended(1)
        await scene.works()

        assert busy["job"]["job_id"] == 1
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        assert text_of(await scene.ended(4)).startswith("The Job ID is not the same as the initialized job")
        assert text_of(await scene.ended(5)) == BUSY
        assert text_of(await scene.ended(6)) == "Job TTL has been reached."
        assert [scene.ends(job_id) for job_id in (2, 3, 4, 5, 6)] == [[], [], *[["job_error"]] * 3]
        await scene.leaves_nothing(worker)


async def test_the_expiration_of_the_running_job_stops_it_and_ends_it_in_one_error(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, UNTIL_STOPPED)
        await scene.running(1)
        await scene.tap.direct({"type": "reached_expiration", "job_id": 1, "parameters": []})
        error = await scene.ended(1)
        await scene.works()

        assert text_of(error) == "Job TTL has been reached."
        assert (scene.ends(1), scene.runs(1)) == (["job_error"], 1)
        await scene.leaves_nothing(worker)


async def test_an_update_that_the_worker_does_not_take_is_refused_and_the_job_goes_on(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        await scene.tap.direct(direct(scene, "update_process", 1))
        await scene.tap.wait_for("worker_updated")
        await scene.status()
        scene.open_gate()
        await scene.ended(1)

        assert "it defines no update_process" in worker.log
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_orders_that_come_too_late_or_twice_do_no_harm(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        for kind in ("stop_process", "update_process"):
            await scene.tap.direct({"type": kind, "job_id": 1, "parameters": []})
        await scene.tap.direct({"type": "start_process", "job_id": 2, "parameters": []})
        for _ in range(2):
            await scene.tap.direct(direct(scene, "init_process", 3, UNTIL_STOPPED))
        for _ in range(2):
            await scene.tap.direct({"type": "start_process", "job_id": 3, "parameters": []})
        await scene.running(3)
        await scene.status()
        await scene.tap.direct({"type": "stop_process", "job_id": 3})
        await scene.ended(3)
        await scene.tap.direct({"type": "stop_process", "job_id": 3})
        await scene.works()

        assert text_of(await scene.ended(2)) == "Cannot start a not initialized job."
        assert (scene.ends(3), scene.runs(3)) == (["job_stopped"], 1)
        assert scene.ends(1) == []
        await scene.leaves_nothing(worker)


async def test_a_stop_that_comes_before_the_job_began_stops_it(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.tap.submit(QUEUE, code_order(1, scene.marked(UNTIL_STOPPED)))
        await scene.tap.wait_for("job_progression")
        await scene.tap.direct({"type": "stop_process", "job_id": 1})
        await scene.ended(1)
        await scene.works()

        assert scene.ends(1) == ["job_stopped"]
        await scene.leaves_nothing(worker)


async def test_suspended_over_a_lost_link_the_worker_stays_suspended(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.tap.direct({"type": "stop_consuming_jobs"})
        await scene.tap.wait_for("worker_status")
        (ours,) = await scene.connections()
        scene.node.api.close_connection(ours["name"])
        await scene.tap.wait_for("worker_discovery", count=2)
        await scene.submit(1)
        suspended = await scene.status()
        assert scene.runs(1) == 0
        await scene.tap.direct({"type": "resume_consuming_jobs"})
        await scene.ended(1)

        assert suspended["worker"]["activity"] == "Suspended"
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_a_worker_resumed_while_its_job_runs_leaves_the_next_order_in_the_queue(scene: Scene):
    # Without attempts to spare: an order that was fetched and put back would end in a job_error.
    async with scene.worker(MESSAGE_TTL_LIMIT="0") as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        await scene.submit(2)
        activities = []
        for answered, kind in enumerate(("stop_consuming_jobs", "resume_consuming_jobs"), 1):
            await scene.tap.direct({"type": kind})
            answers = await scene.tap.wait_for("worker_status", count=answered)
            activities.append(answers[-1]["body"]["worker"]["activity"])
        await scene.status()
        scene.open_gate()
        await scene.ended(2)
        await scene.works()

        assert activities == ["Suspended", "Busy"]
        assert "delivered before" not in worker.log
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        assert (scene.ends(2), scene.runs(2)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_an_initialised_job_survives_a_lost_link(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.tap.direct(direct(scene, "init_process", 1))
        await scene.tap.wait_for("worker_initialized")
        (ours,) = await scene.connections()
        scene.node.api.close_connection(ours["name"])
        await scene.tap.wait_for("worker_discovery", count=2)
        await scene.tap.direct({"type": "start_process", "job_id": 1, "parameters": []})
        await scene.ended(1)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_a_crash_of_the_job_process_while_a_job_is_initialised_is_reported(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.tap.direct(direct(scene, "init_process", 1))
        await scene.tap.wait_for("worker_initialized")
        worker.job_process.kill()
        await scene.ended(1)
        await eventually(lambda: scene.ends(1), bool)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_error"], 0)
        await scene.leaves_nothing(worker)
