"""Limits of time, of size and of isolation."""

from __future__ import annotations

import pytest

from tests.faults.kit import Scene, gone, text_of

UNTIL_STOPPED = "while not ch.is_stopped(): time.sleep(0.02)"
IGNORING = "time.sleep(60)"


async def test_a_job_that_ignores_its_stop_order_is_killed_after_the_grace(scene: Scene):
    async with scene.worker(MCAI_STOP_GRACE_SECONDS="0.5") as worker:
        await worker.created(scene.tap)
        await scene.submit(1, IGNORING)
        await scene.running(1)
        job_process = worker.job_process
        await scene.tap.direct({"type": "stop_process", "job_id": 1})
        stopped = await scene.ended(1)
        await gone(job_process)
        await scene.works()

        assert stopped["body"]["status"] == "stopped"
        assert (scene.ends(1), scene.runs(1)) == (["job_stopped"], 1)
        await scene.leaves_nothing(worker)


async def test_without_a_grace_a_job_that_ignores_its_stop_order_goes_on(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        await scene.tap.direct({"type": "stop_process", "job_id": 1})
        await scene.status()
        assert scene.ends(1) == []
        scene.open_gate()
        await scene.ended(1)

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize("code", [IGNORING, "ctypes.PyDLL(None).usleep(60_000_000)"], ids=["python", "gil"])
async def test_a_job_beyond_its_time_is_killed_and_reported_once(scene: Scene, code: str):
    async with scene.worker(MCAI_JOB_TIMEOUT_SECONDS="0.5") as worker:
        await worker.created(scene.tap)
        await scene.submit(1, code)
        error = await scene.ended(1)
        await scene.works()

        assert text_of(error) == "The job ran longer than MCAI_JOB_TIMEOUT_SECONDS (0.5 s) and was killed."
        assert 0.5 <= error["body"]["execution_duration"] < 2.0
        assert (scene.ends(1), scene.runs(1)) == (["job_error"], 1)
        await scene.leaves_nothing(worker)


async def test_a_result_of_ten_megabytes_arrives_whole(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, "ret = {'parameters': [{'id': 'text', 'kind': 'string', 'value': 'é' * 10_000_000}]}")
        completed = await scene.ended(1)
        await scene.works()

        assert completed["body"]["parameters"][0]["value"] == "é" * 10_000_000
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_a_flood_of_progressions_holds_nothing_up_and_keeps_its_last_value(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(
            1, "for i in range(100_000): ch.publish_job_progression(i % 100)\nch.publish_job_progression(100)"
        )
        await scene.ended(1)
        await scene.works()

        progressions = [m["body"]["progression"] for m in scene.tap.out("job_progression") if m["body"]["job_id"] == 1]
        assert (progressions[0], progressions[-1]) == (0, 100)
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_a_flood_of_log_lines_holds_nothing_up(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, "for i in range(20_000): logging.info('line %d', i)")
        wait = await scene.status_seconds()
        await scene.ended(1)
        await scene.works()

        assert wait < 2.0
        assert "line 19999" in worker.log
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


# MCAI_ISOLATION=thread


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("ret = {'destination_paths': ['/a']}", "job_completed"),
        ("raise ValueError('broken')", "job_error"),
        ("sys.exit(3)", "job_error"),
        (UNTIL_STOPPED, "job_stopped"),
    ],
    ids=["completed", "exception", "SystemExit", "stopped"],
)
async def test_a_worker_without_a_second_process_runs_jobs_too(scene: Scene, code: str, key: str):
    async with scene.worker(MCAI_ISOLATION="thread") as worker:
        await worker.created(scene.tap)
        await scene.submit(1, code)
        await scene.running(1)
        await scene.status()
        if key == "job_stopped":
            await scene.tap.direct({"type": "stop_process", "job_id": 1})
        await scene.ended(1)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == ([key], 1)
        await scene.leaves_nothing(worker)


async def test_a_worker_without_a_second_process_runs_on_over_a_lost_link(scene: Scene):
    async with scene.worker(MCAI_ISOLATION="thread") as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        (ours,) = await scene.connections()
        scene.node.api.close_connection(ours["name"])
        await scene.tap.wait_for("worker_discovery", count=2)
        scene.open_gate()
        await scene.ended(1)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)
