"""What a worker's script does with event loops is its own affair: the supervisor has one of its own."""

from __future__ import annotations

import pytest

from tests.faults.kit import Scene
from tests.support.backend import BackendStandIn
from tests.support.workers import WorkerProcess


@pytest.mark.parametrize("loops", ["uvloop", "a policy", "a closed loop"])
async def test_a_worker_runs_whatever_its_script_does_with_event_loops(scene: Scene, loops: str):
    """A credential is looked up too: by an event loop of the job process."""
    with BackendStandIn() as backend:
        backend.credentials["KEY"] = "42"
        number = {"id": "number", "type": "integer", "store": "BACKEND", "value": "KEY"}
        environment = {**backend.environ(), "TEST_LOOPS": loops}
        async with WorkerProcess(scene.host, script="loops.py", environment=environment) as worker:
            await worker.created(scene.tap)
            await scene.submit(1, "ret = {'destination_paths': [str(p.number)]}", parameters=(number,))
            ended = await scene.ended(1)
            await scene.works()

            assert "Traceback" not in worker.log
            await scene.leaves_nothing(worker)
    assert (ended["routing_key"], ended["body"]["destination_paths"]) == ("job_completed", ["42"])


async def test_a_start_inside_a_running_event_loop_is_refused_in_one_sentence(scene: Scene):
    environment = {"TEST_LOOPS": "a running loop"}
    async with WorkerProcess(scene.host, script="loops.py", environment=environment) as worker:
        exit_code = await worker.ended(timeout_seconds=15)

        assert exit_code == 1
        assert (
            "The worker cannot start: start() was called inside a running event loop; expected outside of one. "
            "Call it from the script itself, not from a coroutine."
        ) in worker.log
        assert "Traceback" not in worker.log
