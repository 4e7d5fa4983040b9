"""Orders that wait for files: they come back every five seconds, and in the end say what is missing."""

from __future__ import annotations

from tests.faults.kit import Scene, parameter, text_of
from tests.support.rabbitmq import eventually


async def test_a_job_runs_once_its_file_has_appeared_and_others_run_meanwhile(scene: Scene):
    wanted = scene.folder / "wanted"
    requirements = parameter("requirements", {"paths": [str(wanted)]}, "requirements")
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, parameters=(requirements,))
        await eventually(lambda: "Required paths do not exist yet" in worker.log, bool)
        await scene.works(2)
        assert (scene.ends(1), scene.runs(1)) == ([], 0)
        wanted.touch()
        await scene.ended(1)

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        assert worker.log.count("Required paths do not exist yet") == 1
        await scene.leaves_nothing(worker)


async def test_a_job_whose_files_never_appear_ends_in_one_error_that_names_them(scene: Scene):
    requirements = parameter("requirements", {"paths": ["/no/such/file", "/"]}, "requirements")
    async with scene.worker(MESSAGE_SOFT_LIMIT="1") as worker:
        await worker.created(scene.tap)
        await scene.submit(1, parameters=(requirements,))
        error = await scene.ended(1)
        await scene.works()

        assert text_of(error) == "The job's requirements do not exist: /no/such/file."
        assert (scene.ends(1), scene.runs(1)) == (["job_error"], 0)
        assert worker.log.count("Required paths do not exist yet") == 1
        await scene.leaves_nothing(worker)


async def test_a_worker_killed_while_an_order_waits_loses_nothing(scene: Scene):
    wanted = scene.folder / "wanted"
    requirements = parameter("requirements", {"paths": [str(wanted)]}, "requirements")
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, parameters=(requirements,))
        await eventually(lambda: "Required paths do not exist yet" in worker.log, bool)
    wanted.touch()
    async with scene.worker() as worker:
        await scene.ended(1)
        await scene.leaves_nothing(worker)

    assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
