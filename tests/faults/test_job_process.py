"""The job process is the main process of the worker's script, ends like one, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from mcai_worker_sdk.launch import JOB_LINK_VARIABLE
from tests.faults.kit import Scene, gone, text_of
from tests.support.rabbitmq import eventually
from tests.support.workers import FOLDER, WorkerProcess

#: Not safe to fork, so the job process is a program of its own from the first on.
THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
#: What children of a job need of the worker's script.
HELPERS = """
import logging
def square(number):
    return number * number
def log_for_ever(_):
    while True:
        logging.info("x" * 300_000)
"""
RETURN = "ret = {'destination_paths': [str(result)]}\n"


async def results(scene: Scene, code: str, *, crash: bool = True) -> list[str]:
    """What a job returns in the first job process, and in the one that replaces it after a crash."""
    told = []
    for job_id, statements in enumerate([code, "os._exit(3)", code] if crash else [code], 1):
        await scene.submit(job_id, statements)
        end = await scene.ended(job_id)
        if end["routing_key"] == "job_completed":
            told += end["body"]["destination_paths"]
    return told


# The main process of the script


@pytest.mark.parametrize("chosen_in", ["setup", "script"])
@pytest.mark.parametrize("prologue", ["", THREAD], ids=["fork", "run"])
async def test_the_start_method_that_the_author_chose_is_that_of_every_job(scene: Scene, chosen_in: str, prologue: str):
    choose = "import multiprocessing; multiprocessing.set_start_method('spawn')"
    in_script = f"if __name__ == '__main__':\n    {choose}\n" if chosen_in == "script" else ""
    in_setup = choose if chosen_in == "setup" else ""
    code = """
from __main__ import square
import multiprocessing
with multiprocessing.Pool(1) as pool:
    result = multiprocessing.get_start_method(), pool.map(square, [3])
"""
    async with scene.worker_after(HELPERS + prologue + in_script, TEST_SETUP_CODE=in_setup) as worker:
        await worker.created(scene.tap)

        assert await results(scene, code + RETURN) == ["('spawn', [9])"] * 2
        await scene.leaves_nothing(worker)


METHODS = ["fork", "spawn", "forkserver"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("is_guarded", [True, False], ids=["guarded", "unguarded"])
async def test_a_pool_in_a_job_works_and_its_processes_are_no_workers(scene: Scene, method: str, is_guarded: bool):
    code = f"""
from __main__ import square
import concurrent.futures, multiprocessing
with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context({method!r})) as pool:
    result = list(pool.map(square, range(4)))
"""
    async with scene.worker_after(HELPERS, is_guarded=is_guarded) as worker:
        await worker.created(scene.tap)

        assert await results(scene, code + RETURN) == ["[0, 1, 4, 9]"] * 2
        assert scene.tap.keys().count("worker_discovery") == scene.tap.keys().count("worker_created") == 1
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize("is_guarded", [True, False], ids=["guarded", "unguarded"])
@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_joblib_runs_functions_of_the_script_in_every_job(scene: Scene, is_guarded: bool, isolation: str):
    code = """
from __main__ import square
import joblib
result = joblib.Parallel(2)(joblib.delayed(square)(number) for number in range(4))
"""
    # numpy has threads of its own where there are several cores.
    prologue = "import numpy\n" + HELPERS
    async with scene.worker_after(prologue, is_guarded=is_guarded, MCAI_ISOLATION=isolation) as worker:
        await worker.created(scene.tap)

        # Without a second process, a crash is the worker's.
        crash = isolation == "process"
        assert await results(scene, code + RETURN, crash=crash) == ["[0, 1, 4, 9]"] * (2 if crash else 1)
        assert scene.tap.keys().count("worker_created") == 1
        await scene.leaves_nothing(worker)


async def test_a_script_that_used_processes_before_its_start_uses_them_in_its_jobs_too(scene: Scene):
    use = """
import concurrent.futures, multiprocessing
with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context({method!r})) as pool:
    result = list(pool.map(len, ["abc"]))
"""
    uses = "".join(use.format(method=method) for method in METHODS)
    prologue = f"if __name__ == '__main__':\n    exec({uses!r})\n"
    async with scene.worker_after(prologue) as worker:
        await worker.created(scene.tap)

        assert await results(scene, uses + RETURN) == ["[3]"] * 2
        await scene.leaves_nothing(worker)


# The end of a job process

KEPT = """
import atexit, os, tempfile, weakref, zipfile
FOLDER = {folder!r}
def note(word):
    with open(FOLDER + "/notes", "a") as notes: notes.write(word + "\\n")
atexit.register(note, "exit function")
self.folder = tempfile.TemporaryDirectory(dir=FOLDER, prefix="temporary-")
self.file = tempfile.NamedTemporaryFile(dir=FOLDER, prefix="temporary-")
self.rows = open(FOLDER + "/rows", "a")
self.rows.write("row\\n")
self.archive = zipfile.ZipFile(FOLDER + f"/{{os.getpid()}}.zip", "w")
self.archive.writestr("member", "text")
self.thing = type("Thing", (), {{}})()
weakref.finalize(self.thing, note, "finalizer")
"""


def kept(folder: Path) -> str:
    return KEPT.format(folder=str(folder))


@pytest.mark.parametrize("prologue", ["", THREAD], ids=["fork", "run"])
@pytest.mark.parametrize("replaced", [False, True], ids=["told to end", "replaced"])
async def test_a_job_process_ends_as_a_python_program_ends(scene: Scene, prologue: str, replaced: bool):
    import zipfile

    limits = {"MCAI_MAX_JOBS_PER_PROCESS": "1"} if replaced else {}
    async with scene.worker_after(prologue, TEST_SETUP_CODE=kept(scene.folder), **limits) as worker:
        await worker.created(scene.tap)
        # Also what a job makes counts: a row that stays in a buffer.
        row = "self.rows.write('row of a job\\n')"
        for job_id in range(1, 4):
            await scene.submit(job_id, row)
            await scene.ended(job_id)
        processes = 4 if replaced else 1
        await eventually(lambda: len(list(scene.folder.glob("*.zip"))), lambda count: count == processes)
        await scene.leaves_nothing(worker)

    assert sorted((scene.folder / "notes").read_text().split("\n")) == sorted(
        ["", *["exit function", "finalizer"] * processes]
    )
    assert sorted((scene.folder / "rows").read_text().splitlines()) == ["row"] * processes + ["row of a job"] * 3
    assert list(scene.folder.glob("temporary-*")) == []
    archives = [zipfile.ZipFile(path) for path in scene.folder.glob("*.zip")]
    assert [archive.namelist() for archive in archives] == [["member"]] * processes


async def test_a_setup_that_fails_ends_its_process_as_a_python_program_ends_too(scene: Scene):
    async with scene.worker(TEST_SETUP_CODE=kept(scene.folder) + "\nraise ValueError('no model')") as worker:
        assert await worker.ended() == 1

    assert sorted((scene.folder / "notes").read_text().split()) == ["exit", "finalizer", "function"]
    assert (scene.folder / "rows").read_text() == "row\n"


EXECUTORS = {
    "threads": "import concurrent.futures\nself.kept = concurrent.futures.ThreadPoolExecutor(2)",
    "processes": "import concurrent.futures\nself.kept = concurrent.futures.ProcessPoolExecutor(2)",
    "pool": "import multiprocessing\nself.kept = multiprocessing.Pool(2)",
    "manager": "import multiprocessing\nself.kept = multiprocessing.Manager()\nself.kept.dict()",
    "process": "import multiprocessing\n"
    "self.kept = multiprocessing.Process(target=time.sleep, args=(600,), daemon=True)\nself.kept.start()",
    "daemon thread": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
}
#: An executor is at work once it was asked for something.
USE = "\nif hasattr(self, 'kept') and hasattr(self.kept, 'submit'): self.kept.submit(len, 'a').result()\n"


@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS)
async def test_what_setup_keeps_at_work_does_not_hold_the_end_up(scene: Scene, executor: str):
    note = f"\nimport atexit\natexit.register(open, {str(scene.folder / 'note')!r}, 'w')\n"
    async with scene.worker(TEST_SETUP_CODE=note + executor + USE) as worker:
        await worker.created(scene.tap)
        started = psutil.Process(worker.pid).children(recursive=True)
        await scene.leaves_nothing(worker)
        for process in started:
            await gone(process)

    # It ended by itself: a process that is killed has no exit functions.
    assert (scene.folder / "note").exists()


async def test_what_the_script_registered_for_its_end_happens_once_and_in_the_supervisor(scene: Scene):
    registers = f"""
import atexit, os, tempfile, weakref
def note(word):
    with open({str(scene.folder / "notes")!r}, "a") as notes: notes.write(f"{{word}} {{os.getpid()}}\\n")
atexit.register(note, "exit-function")
class Thing: ...
thing = Thing()
weakref.finalize(thing, note, "finalizer")
folder = tempfile.TemporaryDirectory(dir={str(scene.folder)!r}, prefix="temporary-")
log = open({str(scene.folder / "log")!r}, "a")
log.write("line of the script\\n")
"""
    async with scene.worker_after(registers) as worker:
        await worker.created(scene.tap)
        job_process = worker.job_process
        await scene.submit(1, "import __main__\n__main__.log.write('line of a job\\n')")
        await scene.ended(1)
        supervisor = worker.pid
        job_process_pid = job_process.pid
        (folder,) = scene.folder.glob("temporary-*")
        await scene.leaves_nothing(worker)

    notes = (scene.folder / "notes").read_text().splitlines()
    assert sorted(notes) == [f"exit-function {supervisor}", f"finalizer {supervisor}"]
    assert not folder.exists()
    assert job_process_pid != supervisor
    assert sorted((scene.folder / "log").read_text().splitlines()) == ["line of a job", "line of the script"]


# What a job shares


def shared() -> set[str]:
    """Shared memory and named semaphores of this machine."""
    return set(os.listdir("/dev/shm"))


SHARE = """
from multiprocessing import get_context, shared_memory
self.memory = shared_memory.SharedMemory(create=True, size=16)
self.lock = get_context("spawn").Lock()
names = [self.memory.name.lstrip("/"), "sem." + self.lock._semlock.name.lstrip("/")]
open({names!r}, "w").write(" ".join(names))
"""
ENDS = {
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", {}),
    "time-out": ("time.sleep(600)", {"MCAI_JOB_TIMEOUT_SECONDS": "1"}),
    "forgotten": ("", {}),
    "forgotten, then replaced": ("", {"MCAI_MAX_JOBS_PER_PROCESS": "1"}),
}


@pytest.mark.parametrize("prologue", ["", THREAD], ids=["fork", "run"])
@pytest.mark.parametrize(("end", "limits"), ENDS.values(), ids=ENDS)
async def test_memory_and_semaphores_that_a_job_shares_are_freed_with_its_process(
    scene: Scene, prologue: str, end: str, limits: dict[str, str]
):
    names = scene.folder / "names"
    async with scene.worker_after(prologue, **limits) as worker:
        await worker.created(scene.tap)
        await scene.submit(1, SHARE.format(names=str(names)) + end)
        await scene.ended(1)
        if not end and not limits:
            assert [name for name in names.read_text().split() if name not in shared()] == []
            await scene.leaves_nothing(worker)

        # Before the worker's end: with the process that made them.
        made = set(names.read_text().split())
        await eventually(lambda: made & shared(), lambda left: not left)
        if end or limits:
            await scene.leaves_nothing(worker)


async def test_semaphores_of_joblib_are_freed_when_its_job_is_killed(scene: Scene):
    before = shared()
    code = f"""
import joblib
def wait(number):
    open({str(scene.folder)!r} + f"/begun-{{number}}", "w").close()
    time.sleep(600)
joblib.Parallel(2)(joblib.delayed(wait)(number) for number in range(2))
"""
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, code)
        await eventually(lambda: len(list(scene.folder.glob("begun-*"))), lambda count: count == 2)
        worker.job_process.kill()
        await scene.ended(1)

        await eventually(lambda: shared() - before, lambda left: not left)
        await scene.leaves_nothing(worker)


# The link


async def test_children_that_are_killed_while_they_log_cost_the_job_nothing(scene: Scene):
    code = """
from __main__ import log_for_ever
import multiprocessing
for _ in range(20):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map_async(log_for_ever, range(4))
        time.sleep(0.1)
result = "all are gone"
"""
    async with scene.worker_after(HELPERS) as worker:
        await worker.created(scene.tap)

        assert await results(scene, code + RETURN, crash=False) == ["all are gone"]
        await scene.works()
        await scene.leaves_nothing(worker)


#: Every socket of the job process that may be the link.
FIND_LINK = """
import socket, stat
links = [fd for fd in range(3, 100) if os.path.exists(f"/proc/self/fd/{fd}") and stat.S_ISSOCK(os.fstat(fd).st_mode)]
"""


async def test_what_cannot_be_read_in_the_link_ends_the_job_process_and_its_job_once(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, FIND_LINK + "for fd in links: os.write(fd, b'frame= 1 fps=0.0')\ntime.sleep(600)")
        error = await scene.ended(1)
        await scene.works()

        assert "The job link brought b'frame= 1 fps=0.0'; expected what the SDK itself writes" in text_of(error)
        assert (scene.ends(1), scene.runs(1)) == (["job_error"], 1)
        assert scene.tap.keys().count("worker_created") == 1
        await scene.leaves_nothing(worker)


async def test_what_a_job_opens_in_place_of_the_link_that_it_closed_is_left_alone(scene: Scene):
    # A file of its own under every number: the link's, too.
    code = f"""
os.closerange(3, 1024)
files = [os.open({str(scene.folder)!r} + f"/file-{{number}}", os.O_CREAT | os.O_RDWR) for number in range(60)]
ch.publish_job_progression(50)
logging.warning("a line")
"""
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, code)
        error = await scene.ended(1)
        await scene.works()

        assert "ended with exit code 1" in text_of(error)
        files = list(scene.folder.glob("file-*"))
        assert len(files) == 60
        assert [path for path in files if path.stat().st_size] == []
        await scene.leaves_nothing(worker)


async def test_a_worker_without_standard_descriptors_is_not_written_to_by_what_prints(scene: Scene):
    closed = scene.folder / "python"
    closed.write_text(f'#!/bin/sh\nexec {sys.executable} "$@" <&- >&- 2>&-\n')
    closed.chmod(0o755)
    code = """
print("text")
os.write(1, b"x" * 1000)
os.write(2, b"x" * 1000)
result = subprocess.run("echo text; echo text >&2; cat; exit 7", shell=True).returncode
"""
    async with WorkerProcess(scene.host, python=str(closed), folder=FOLDER) as worker:
        await worker.created(scene.tap)

        assert await results(scene, code + RETURN) == ["7"] * 2
        assert worker.log == ""
        await scene.leaves_nothing(worker)


# Its environment


async def test_programs_that_a_job_starts_have_nothing_of_the_link(scene: Scene):
    code = """
show = "import json, os; print(json.dumps([sorted(os.environ), sorted(os.listdir('/proc/self/fd'))]))"
result = subprocess.run([sys.executable, "-c", show], stdout=subprocess.PIPE, text=True, check=True).stdout
"""
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        forked, run = [json.loads(result) for result in await results(scene, code + RETURN)]

        assert run == forked
        assert JOB_LINK_VARIABLE not in run[0]
        assert run[1] == ["0", "1", "2", "3"]
        await scene.leaves_nothing(worker)
