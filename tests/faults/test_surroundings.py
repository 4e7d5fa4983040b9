"""What the worker's script, its parent or its jobs did to the process: it changes nothing of the promises."""

from __future__ import annotations

import asyncio
import signal
import sys

import psutil
import pytest

from tests.faults.kit import Scene, gone, text_of
from tests.support.rabbitmq import eventually
from tests.support.workers import WorkerProcess

#: Not safe to fork, so the job process is a program of its own from the first on.
THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"


@pytest.mark.parametrize(
    ("prologue", "isolation"), [("", "process"), (THREAD, "process"), ("", "thread")], ids=["fork", "run", "thread"]
)
async def test_a_time_out_for_all_sockets_ends_neither_a_job_nor_the_wait_for_one(
    scene: Scene, prologue: str, isolation: str
):
    set_default = prologue + "import socket\nsocket.setdefaulttimeout(0.3)\n"
    async with scene.worker_after(set_default, MCAI_ISOLATION=isolation) as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        # Longer than the time-out: nothing is sent to the job meanwhile.
        await asyncio.sleep(0.7)
        scene.open_gate()
        await scene.ended(1)
        await asyncio.sleep(0.7)
        await scene.works()

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        assert "job process" not in worker.log
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize("set_by", ["script", "parent"])
async def test_ignored_ends_of_children_hide_no_crash_and_hold_no_end_up(scene: Scene, set_by: str):
    ignore = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    if set_by == "script":
        worker = scene.worker_after(ignore)
    else:
        starter = scene.folder / "python"
        become_python = "import os, sys\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
        starter.write_text(f"#!{sys.executable}\n{ignore}{become_python}")
        starter.chmod(0o755)
        worker = WorkerProcess(scene.host, python=str(starter))
    async with worker:
        await worker.created(scene.tap)
        await scene.submit(1, "os._exit(3)")
        error = await scene.ended(1)
        await scene.works()

        assert "ended with exit code 3" in text_of(error)
        assert (scene.ends(1), scene.runs(1)) == (["job_error"], 1)
        await scene.leaves_nothing(worker)


async def test_a_secret_of_the_settings_is_in_no_message_of_any_job_process(scene: Scene):
    tell = f"raise RuntimeError('cannot log in with ' + {scene.host.password!r})"
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        for job_id, code in enumerate([tell, "os._exit(3)", tell], 1):
            await scene.submit(job_id, code)
            await scene.ended(job_id)

        told = [text_of(await scene.ended(job_id)).splitlines()[0] for job_id in (1, 3)]
        assert told == ["RuntimeError: cannot log in with ***"] * 2
        assert scene.host.password not in worker.log
        await scene.leaves_nothing(worker)


FORK_WHILE_OTHERS_ARE_BUSY = """
ended = threading.Event()
def busy():
    while not ended.is_set():
        ch.publish_job_progression(1)
        logging.info('busy')
thread = threading.Thread(target=busy)
thread.start()
hung = 0
for number in range(20):
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        ch.publish_job_progression(2)
        logging.info('line of helper %d', number)
        os._exit(0)
    hung += os.waitpid(pid, 0)[1] != 0
ended.set()
thread.join()
ret = {'parameters': [{'id': 'hung', 'kind': 'integer', 'value': hung}]}
"""


async def test_processes_that_a_job_forks_report_and_log_whatever_its_threads_were_doing(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, FORK_WHILE_OTHERS_ARE_BUSY)
        ended = await scene.ended(1)

        assert ended["body"]["parameters"][0]["value"] == 0
        assert [number for number in range(20) if f"line of helper {number}\n" not in worker.log] == []
        await scene.leaves_nothing(worker)


async def test_a_program_in_a_session_of_its_own_is_killed_with_its_job(scene: Scene):
    number = scene.folder / "program"
    start = "program = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    note = f"open({str(number)!r}, 'w').write(str(program.pid))\n"
    async with scene.worker(MCAI_JOB_TIMEOUT_SECONDS="1") as worker:
        await worker.created(scene.tap)
        await scene.submit(1, start + note + "program.wait()")
        error = await scene.ended(1)

        assert "MCAI_JOB_TIMEOUT_SECONDS" in text_of(error)
        await gone(psutil.Process(int(number.read_text())))
        await scene.leaves_nothing(worker)


async def test_without_a_second_process_a_time_out_is_an_error_too(scene: Scene):
    async with scene.worker(MCAI_ISOLATION="thread", MCAI_JOB_TIMEOUT_SECONDS="0.5") as worker:
        await worker.created(scene.tap)
        await scene.submit(1, "while not ch.is_stopped(): time.sleep(0.01)")
        error = await scene.ended(1)
        await scene.works()

        assert "MCAI_JOB_TIMEOUT_SECONDS" in text_of(error)
        assert scene.ends(1) == ["job_error"]
        await scene.leaves_nothing(worker)


async def test_without_a_second_process_a_job_that_cannot_be_ended_holds_no_end_up(scene: Scene):
    wait = "import concurrent.futures as f\nf.ThreadPoolExecutor(1).submit(threading.Event().wait).result()"
    async with scene.worker(MCAI_ISOLATION="thread", MCAI_SHUTDOWN_GRACE_SECONDS="0.2") as worker:
        await worker.created(scene.tap)
        await scene.submit(1, wait)
        await scene.running(1)
        worker.send_signal(signal.SIGTERM)

        assert await worker.ended() == 0
        assert "nothing can end it there" in worker.log
        left = await eventually(scene.orders_left, lambda orders: orders)
        assert [order["job_id"] for order in left] == [1]


POOLS = """
import multiprocessing
for number in range(20):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        if number % 2:
            pool.map(len, ["a"])
"""


async def test_without_a_second_process_pools_of_a_job_end_and_the_worker_goes_on(scene: Scene):
    async with scene.worker(MCAI_ISOLATION="thread") as worker:
        await worker.created(scene.tap)
        await scene.submit(1, POOLS)
        await scene.ended(1)
        await scene.works()

        assert scene.ends(1) == ["job_completed"]
        # A signal to a pool's process is none to the worker.
        assert "SIGTERM" not in worker.log
        await scene.leaves_nothing(worker)


#: What a disk, a mount without its server, or a driver does to whoever asks it.
HANG = """
import threading, psutil
def hang(*_arguments):
    threading.Event().wait()
psutil.disk_usage = hang
"""


async def test_a_disk_that_does_not_answer_holds_up_neither_an_answer_nor_the_end(scene: Scene):
    async with scene.worker_after(HANG) as worker:
        await worker.created(scene.tap)
        await scene.works()
        figures = (await scene.status())["worker"]["system_info"]

        assert figures["disks"] == []
        assert figures["memory"]["total_memory"] > 0
        assert "does not answer" in worker.log
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize("file", ["/dev/full", "/none/log", "{folder}"], ids=["full disk", "no folder", "a folder"])
async def test_a_log_file_that_cannot_be_written_is_told_and_costs_nothing_else(scene: Scene, file: str):
    async with scene.worker(FILE_LOGGING=file.format(folder=scene.folder)) as worker:
        await worker.created(scene.tap)
        await scene.works()

        assert worker.log.count("and that file cannot be written") == 1
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize("redirected", ["2>/dev/full", "2> >(exec true)", "2>&-"], ids=["full", "unread", "closed"])
async def test_a_standard_error_that_cannot_be_written_ends_no_worker(scene: Scene, redirected: str):
    python = scene.folder / "python"
    python.write_text(f'#!/bin/bash\nexec {sys.executable} "$@" {redirected}\n')
    python.chmod(0o755)
    async with WorkerProcess(scene.host, python=str(python)) as worker:
        await worker.created(scene.tap)
        await scene.submit(1, "raise ValueError('the file is broken')")
        await scene.submit(2, "os._exit(3)")
        await scene.ended(2)
        await scene.works()

        assert (scene.ends(1), scene.ends(2)) == (["job_error"], ["job_error"])
        await scene.leaves_nothing(worker)


CONFIGURE = """
import logging, logging.config, sys
logging.getLogger("of.a.library").warning("before")
logging.config.dictConfig({{
    "version": 1,
    "formatters": {{"mine": {{"format": "MINE %(job_id)s %(name)s %(message)s"}}}},
    "handlers": {{"mine": {{"class": "logging.StreamHandler", "formatter": "mine"}}}},
    {root}: {{"handlers": ["mine"], "level": "INFO"}},
}})
"""
#: Of the whole process, or of a logger alone: what is not named is disabled.
ROOTS = {"root": "'root'", "one logger": "'loggers': {'of.the.user': {'level': 'INFO'}}, 'no key of logging'"}


@pytest.mark.parametrize("root", ROOTS.values(), ids=ROOTS)
@pytest.mark.parametrize("where", ["script", "setup", "job"])
async def test_a_configuration_of_logging_silences_no_failure(scene: Scene, where: str, root: str):
    configure = CONFIGURE.format(root=root)
    prologue = configure if where == "script" else ""
    setup_code = configure if where == "setup" else ""
    async with scene.worker_after(prologue, TEST_SETUP_CODE=setup_code) as worker:
        await worker.created(scene.tap)
        await scene.submit(1, f"{configure if where == 'job' else ''}raise ValueError('the file is broken')")
        await scene.submit(2, "logging.getLogger('of.the.user').warning('a line of the job')")
        await scene.ended(2)

        line = next(line for line in worker.log.splitlines() if "The job failed." in line)
        assert "MINE 1 " in line or " - 1 - ERROR - " in line
        assert "ValueError: the file is broken" in worker.log
        line = next(line for line in worker.log.splitlines() if "a line of the job" in line)
        assert "MINE 2 " in line or " - 2 - WARN - " in line
        await scene.leaves_nothing(worker)


async def test_a_job_leaves_a_line_when_it_begins_and_one_when_it_ends(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, "time.sleep(0.1)")
        await scene.submit(2, "raise ValueError('the file is broken')")
        await scene.submit_gated(3, "\nch.is_stopped()")
        await scene.tap.direct({"type": "stop_process", "job_id": 3})
        # Messages are answered in order: the job has been told by now.
        await scene.status()
        scene.open_gate()
        await scene.submit(4, "os._exit(3)")
        await scene.ended(4)

        lines = [
            line.split(" - ")[3:]
            for line in worker.log.splitlines()
            if " - The job begins" in line or " - The job ends" in line
        ]
        assert [
            (job_id, level, " ".join(text).split(" s (")[0].rstrip("0123456789.")) for job_id, level, *text in lines
        ] == [
            (str(job_id), "INFO", text)
            for job_id, end in ((1, "completed"), (2, "error"), (3, "stopped"), (4, "error"))
            for text in ("The job begins", f"The job ends: {end}, after ")
        ]
        assert "s of processor time). ValueError: the file is broken" in worker.log
        assert "s of processor time). The job process ended with exit code 3 in the middle" in worker.log
        await scene.leaves_nothing(worker)
