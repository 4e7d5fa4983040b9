"""
Every way of starting a worker that Python knows: its job process is the worker's own program each time.

A job process that replaces another is the worker's command line, run again; so is the first one where a fork is not
safe. Whatever the script looks like and wherever Python has it from, ``__main__`` is the script.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipapp
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.rabbitmq import VirtualHost, eventually
from tests.support.tap import Tap
from tests.support.workers import FOLDER, QUEUE, WorkerProcess

#: A thread on import: what a library may do, and why fork is not safe then.
THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
WORKER = """
import json, multiprocessing, os, signal, sys
import mcai_worker_sdk as mcai

class P(mcai.WorkerParameters):
    pass

class W(mcai.Worker):
    def process(self, channel, parameters, job_id):
        if job_id == 13:
            os.kill(os.getpid(), signal.SIGSEGV)
        main = sys.modules["__main__"]
        return {"destination_paths": [json.dumps({
            "class is of the main module": main.W is type(self) and W.__module__ == "__main__",
            "file": getattr(main, "__file__", None),
            "package": main.__package__,
            "arguments": sys.argv,
            "optimised": sys.flags.optimize,
            "parent": os.getppid(),
            "is a child of multiprocessing": multiprocessing.parent_process() is not None,
            "stands in": os.getcwd(),
            "reads": sys.stdin.read(),
        })]}

worker = W(P, mcai.WorkerDescription(None))
"""
START = "worker.start()\n"
GUARDED = "if __name__ == '__main__':\n    worker.start()\n"
#: What the script does to its surroundings is not done to it again.
UNSETTLE = """
os.chdir("/")
os.environ.pop("TEST_TAKEN_OUT")
sys.argv.append("from the script")
sys.orig_argv.clear()
sys.executable = "/nowhere"
"""


@dataclass(frozen=True)
class Way:
    """How a worker is started: what is made in the folder, and what is called there."""

    arguments: list[str]
    make: Callable[[Path, str], object] = lambda _folder, _text: None
    text: str | None = None


def write(*parts: str) -> Callable[[Path, str], object]:
    def make(folder: Path, text: str) -> None:
        path = folder.joinpath(*parts)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    return make


def write_archive(folder: Path, text: str) -> None:
    write("sources", "__main__.py")(folder, text)
    zipapp.create_archive(folder / "sources", folder / "worker.pyz")


RUN_PATH = "import runpy, sys; sys.argv = ['other', 'a']; runpy.run_path('worker.py', run_name='__main__')"
#: ``{}`` is the script's text.
WAYS = {
    "script": Way(["-O", "worker.py", "a"], write("worker.py")),
    "script without a suffix": Way(["./bin/worker", "a"], write("bin", "worker")),
    "module": Way(["-m", "mine.worker", "a"], write("mine", "worker.py")),
    "package": Way(["-OO", "-m", "mine", "a"], write("mine", "__main__.py")),
    "folder": Way(["mine", "a"], write("mine", "__main__.py")),
    "archive": Way(["worker.pyz", "a"], write_archive),
    "command": Way(["-c", "{}", "a"]),
    "command among options": Way(["-Bc", "{}", "a"]),
    "standard input": Way([], text="{}"),
    "standard input with arguments": Way(["-O", "-", "a", "-"], text="{}"),
    "runpy": Way(["-c", RUN_PATH], write("worker.py")),
}


async def run_jobs(vhost: VirtualHost, way: Way, folder: Path, text: str) -> tuple[list[dict[str, object]], list[str]]:
    """What two jobs with a crash between them say of their process, and all routing keys."""
    shutil.copy(FOLDER / "pyproject.toml", folder)
    way.make(folder, text)
    arguments = [argument.replace("{}", text) for argument in way.arguments]
    given = None if way.text is None else way.text.replace("{}", text)
    environment = {"TEST_TAKEN_OUT": "x"}
    async with (
        Tap(vhost) as tap,
        WorkerProcess(vhost, arguments=arguments, folder=folder, text=given, environment=environment) as worker,
    ):
        await worker.created(tap)
        for job_id, end, count in ((1, "job_completed", 1), (13, "job_error", 1), (2, "job_completed", 2)):
            await tap.submit(QUEUE, {"job_id": job_id, "parameters": []})
            await tap.wait_for(end, count=count)
        said = [json.loads(m["body"]["destination_paths"][0]) for m in tap.out("job_completed")]
        assert {one.pop("parent") for one in said} == {worker.pid}
        return said, tap.keys()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_job_process_that_replaces_another_is_the_same_program(vhost: VirtualHost, tmp_path: Path, way: Way):
    (forked, run), keys = await run_jobs(vhost, way, tmp_path, WORKER + UNSETTLE + START)

    assert run == forked
    assert run["class is of the main module"] is True
    assert run["is a child of multiprocessing"] is False
    assert run["reads"] == ""
    # It is one worker: whatever ran the script again took no orders.
    assert keys.count("worker_discovery") == keys.count("worker_created") == 1


@pytest.mark.parametrize("way", ["script", "package", "standard input with arguments"])
async def test_a_script_that_cannot_be_forked_is_run_again_from_the_first_job_on(
    vhost: VirtualHost, tmp_path: Path, way: str
):
    (first, second), keys = await run_jobs(vhost, WAYS[way], tmp_path, THREAD + WORKER + UNSETTLE + START)

    assert first == second
    assert first["class is of the main module"] is True
    assert keys.count("worker_discovery") == keys.count("worker_created") == 1


@pytest.mark.parametrize("thread", ["", THREAD], ids=["forked first", "run"])
@pytest.mark.parametrize(
    "body",
    [
        WORKER + GUARDED,
        "def main():\n" + WORKER.replace("\n", "\n    ").replace("main.W is type(self)", "True") + START + "main()\n",
        WORKER + "import threading\nworker.lock = threading.Lock()\n" + GUARDED,
        "if __name__ == '__main__':\n" + WORKER.replace("\n", "\n    ") + START,
    ],
    ids=["guarded", "class in a function", "lock in the worker", "class under the guard"],
)
async def test_nothing_of_a_worker_has_to_travel(vhost: VirtualHost, tmp_path: Path, thread: str, body: str):
    way = Way(["worker.py"], write("worker.py"))
    said, keys = await run_jobs(vhost, way, tmp_path, thread + body)

    assert len(said) == 2
    assert keys.count("worker_created") == 1


async def test_of_several_workers_in_one_script_the_one_that_runs_now_is_run_again(vhost: VirtualHost, tmp_path: Path):
    shutil.copy(FOLDER / "pyproject.toml", tmp_path)
    starts = "worker.name = 'first'\nworker.start()\nother = W(P, mcai.WorkerDescription(None))\nother.start()\n"
    (tmp_path / "worker.py").write_text(WORKER + starts)
    async with (
        Tap(vhost) as tap,
        WorkerProcess(vhost, arguments=["worker.py"], folder=tmp_path, environment={"MCAI_MAX_JOBS": "2"}) as worker,
    ):
        for number in (1, 2):
            await worker.created(tap) if number == 1 else await tap.wait_for("worker_created", count=2)
            for job_id in (13, number):
                await tap.submit(QUEUE, {"job_id": job_id, "parameters": []})
            await tap.wait_for("job_completed", count=number)
        assert await worker.ended() == 0
        assert tap.keys().count("worker_created") == 2


PRIOR = "import sys\nsys.stderr.write('the script runs\\n')\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            PRIOR + "import socket\nserver = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n" + THREAD,
            ["before the worker's script came to start() again", "Address already in use", "do in setup()"],
        ),
        (
            THREAD + WORKER + "if sys.argv[1:] and os.environ.setdefault('N', '0') == '0':\n"
            "    os.environ['N'] = '1'\n    worker.start()\n",
            ["ended with exit code 0 before the worker's script came to start() again"],
        ),
    ],
    ids=["a port of its own", "another way the second time"],
)
async def test_a_script_that_does_not_come_to_start_again_ends_the_worker_with_the_reason(
    vhost: VirtualHost, tmp_path: Path, body: str, said: list[str]
):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    script = body if "worker.start()" in body else body + WORKER + START
    (tmp_path / "worker.py").write_text(script)
    shutil.copy(FOLDER / "pyproject.toml", tmp_path)
    async with WorkerProcess(vhost, arguments=["worker.py", str(port)], folder=tmp_path) as worker:
        assert await worker.ended() == 1

    assert [text for text in said if text not in worker.log] == []


def test_a_worker_whose_libraries_cannot_be_loaded_ends_and_does_not_wait_for_its_job_process(tmp_path: Path):
    script = tmp_path / "w.py"
    script.write_text("import sys\nsys.modules['pika'] = None\n" + WORKER + START)
    shutil.copy(FOLDER / "pyproject.toml", tmp_path)

    ended = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )

    assert ended.returncode == 1
    assert "import of pika halted" in ended.stderr


LAUNCHER = """
import sys
if __name__ == "__main__":
    import multiprocessing
    context = multiprocessing.get_context(sys.argv[1])
    workers = [context.Process(target=run) for _ in range(2)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
async def test_workers_that_a_program_starts_by_multiprocessing_are_workers(
    vhost: VirtualHost, tmp_path: Path, method: str
):
    (tmp_path / "worker.py").write_text(WORKER + "def run():\n    worker.start()\n" + LAUNCHER)
    shutil.copy(FOLDER / "pyproject.toml", tmp_path)
    async with (
        Tap(vhost) as tap,
        WorkerProcess(vhost, arguments=["worker.py", method], folder=tmp_path) as launcher,
    ):
        await tap.wait_for("worker_created", count=2)
        await tap.submit(QUEUE, {"job_id": 1, "parameters": []})
        await tap.wait_for("job_completed")
        # Its command line is the launcher's, which would start two workers more: this is told, and not done.
        await tap.submit(QUEUE, {"job_id": 13, "parameters": []})
        await tap.wait_for("job_error")
        await tap.wait_for("worker_terminated")
        await eventually(lambda: launcher.log, lambda log: "can no longer run jobs" in log or "cannot run jobs" in log)

    assert "A job process that dies will end the worker" in launcher.log
    assert "this process is a child of multiprocessing" in launcher.log
    assert len(tap.out("worker_created")) == 2
