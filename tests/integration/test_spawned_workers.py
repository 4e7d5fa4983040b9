"""Workers whose job process cannot be forked: their script is imported a second time, whatever it looks like."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.rabbitmq import VirtualHost
from tests.support.tap import Tap
from tests.support.workers import FOLDER, QUEUE, WorkerProcess

#: A thread on import: what a library may do, and why fork is not safe then.
THREAD = """
import os, signal, threading
import mcai_worker_sdk as mcai
threading.Thread(target=threading.Event().wait, daemon=True).start()

class P(mcai.WorkerParameters):
    pass
"""
WORKER_IMPORTS = """
import mcai_worker_sdk as mcai

class P(mcai.WorkerParameters):
    pass
"""
WORKER = """
class W(mcai.Worker):
    def process(self, channel, parameters, job_id):
        if job_id == 13:
            os.kill(os.getpid(), signal.SIGSEGV)
        return {"destination_paths": [f"/{__name__}/{os.getppid()}"]}
"""
#: How pickle says that a class is not at the top of a module, and that a module has no such class.
if sys.version_info >= (3, 14):
    LOCAL_CLASS, MISSING_CLASS = "PicklingError: Can't", "AttributeError: module '__mp_main__' has no attribute 'W'"
else:
    LOCAL_CLASS, MISSING_CLASS = "AttributeError: Can't", "AttributeError: Can't get attribute 'W' on"
START = "W(P, mcai.WorkerDescription(None)).start()\n"


async def run_two_jobs(vhost: VirtualHost, script: Path) -> tuple[str, int, list[str]]:
    """A crash and a job after it: the second one's path, the supervisor's id, all routing keys."""
    async with Tap(vhost) as tap, WorkerProcess(vhost, script=str(script)) as worker:
        await worker.created(tap)
        await tap.submit(QUEUE, {"job_id": 13, "parameters": []})
        await tap.wait_for("job_error")
        await tap.submit(QUEUE, {"job_id": 1, "parameters": []})
        (completed,) = await tap.wait_for("job_completed")
        return completed["body"]["destination_paths"][0], worker.pid, tap.keys()


@pytest.mark.parametrize("thread", [THREAD, THREAD.replace("threading.Thread", "# ")], ids=["spawned", "forked first"])
@pytest.mark.parametrize("start", [START, f"if __name__ == '__main__':\n    {START}"], ids=["unguarded", "guarded"])
async def test_a_script_runs_with_and_without_a_main_guard(vhost: VirtualHost, tmp_path: Path, thread: str, start: str):
    script = tmp_path / "w.py"
    script.write_text(thread + WORKER + start)
    path, supervisor, keys = await run_two_jobs(vhost, script)

    # One worker, and its job process is its own child: the second import started no worker of its own.
    assert path == f"/__mp_main__/{supervisor}"
    assert keys.count("worker_discovery") == keys.count("worker_created") == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "def main():\n" + WORKER.replace("\n", "\n    ") + "\n    " + START + "main()\n",
            [f"cannot be started by spawn: {LOCAL_CLASS}", "define its classes at the top of a module"],
        ),
        (
            WORKER + "w = W(P, mcai.WorkerDescription(None))\nw.lock = threading.Lock()\nw.start()\n",
            ["cannot be started by spawn: TypeError: cannot pickle '_thread.lock' object", "make in setup(), not in"],
        ),
        (
            "if __name__ == '__main__':\n" + WORKER.replace("\n", "\n    ") + "\n    " + START,
            ["ended with exit code 1 before setup() came to its end", MISSING_CLASS],
        ),
    ],
    ids=["class in a function", "lock in the worker", "class under the guard"],
)
async def test_a_worker_that_cannot_travel_is_refused_with_the_remedy(
    vhost: VirtualHost, tmp_path: Path, body: str, said: list[str]
):
    script = tmp_path / "w.py"
    script.write_text(THREAD + body)
    async with WorkerProcess(vhost, script=str(script)) as worker:
        exit_code = await worker.ended()

    assert exit_code == 1
    assert [text for text in said if text not in worker.log] == []


def test_a_worker_whose_libraries_cannot_be_loaded_ends_and_does_not_wait_for_its_job_process(tmp_path: Path):
    script = tmp_path / "w.py"
    script.write_text("import os, signal, sys\nsys.modules['pika'] = None\n" + WORKER_IMPORTS + WORKER + START)
    shutil.copy(FOLDER / "pyproject.toml", tmp_path)

    ended = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )

    assert ended.returncode == 1
    assert "import of pika halted" in ended.stderr
