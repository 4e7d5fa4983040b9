"""Jobs that start processes by multiprocessing, which starts them another way from Python 3.14 on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.rabbitmq import VirtualHost
from tests.support.tap import Tap
from tests.support.workers import FOLDER, QUEUE, WorkerProcess

WORKER = """
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import mcai_worker_sdk as mcai


def double(number):
    return 2 * number


def report(channel):
    channel.publish_job_progression(50)


class Parameters(mcai.WorkerParameters):
    pass


class Worker(mcai.Worker):
    def setup(self):
        self.executor = ProcessPoolExecutor(1, mp_context=context())

    def process(self, channel, parameters, job_id):
        if job_id == 1:
            with context().Pool(2) as pool, context().Manager() as manager:
                found = manager.list(pool.map(double, [1, 2]))
                with ProcessPoolExecutor(2, mp_context=context()) as executor:
                    found.extend(list(executor.map(double, [3])))
                found.extend(list(self.executor.map(double, [4])))
                text = str(list(found))
        else:
            child = context().Process(target=report, args=(channel,))
            child.start()
            child.join()
            text = str(child.exitcode)
        return {"destination_paths": [text]}


def context():
    return multiprocessing.get_context(os.environ["METHOD"] or None)


if __name__ == "__main__":
    Worker(Parameters, mcai.WorkerDescription(None)).start()
"""

#: The empty one is what Python takes unless told otherwise.
METHODS = ["", "fork", "spawn", "forkserver"]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    shutil.copy(FOLDER / "pyproject.toml", tmp_path)
    path = tmp_path / "w.py"
    path.write_text(WORKER)
    return path


@pytest.mark.parametrize("method", METHODS)
async def test_a_job_may_start_processes_in_every_way(vhost: VirtualHost, script: Path, method: str):
    async with Tap(vhost) as tap, WorkerProcess(vhost, script=str(script), environment={"METHOD": method}) as worker:
        await worker.created(tap)
        await tap.submit(QUEUE, {"job_id": 1, "parameters": []})
        (first,) = await tap.wait_for("job_completed", "job_error")

    assert first["body"].get("destination_paths") == ["[2, 4, 6, 8]"]


@pytest.mark.parametrize("method", METHODS)
def test_a_local_order_may_start_processes_in_every_way(script: Path, method: str):
    order = script.with_name("order.json")
    order.write_text('{"job_id": 1, "parameters": []}')

    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=script.parent,
        env={**os.environ, "METHOD": method, "SOURCE_ORDERS": str(order)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (done.returncode, "[2, 4, 6, 8]" in done.stderr) == (0, True), done.stderr


async def test_a_forked_process_reports_by_the_channel_and_a_spawned_one_is_told_why_not(
    vhost: VirtualHost, script: Path
):
    messages = []
    for method in ("fork", "spawn"):
        environment = {"METHOD": method}
        async with Tap(vhost) as tap, WorkerProcess(vhost, script=str(script), environment=environment) as worker:
            await worker.created(tap)
            await tap.submit(QUEUE, {"job_id": 2, "parameters": []})
            messages += await tap.wait_for("job_completed", "job_error")
            shown = [message["body"]["progression"] for message in tap.out("job_progression")]
            assert shown == ([0, 50] if method == "fork" else [0])

    completed, refused = messages
    assert completed["body"]["destination_paths"] == ["0"]
    assert refused["body"]["parameters"][0]["value"].startswith(
        "TypeError: The channel of job 2 cannot be pickled; expected to be used in the process of the job. "
    )
