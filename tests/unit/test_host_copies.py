"""Copies of the worker's process that user code forks: they are ended by signals, and tell the worker of none."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys

import pytest

from mcai_worker_sdk.job.copies import call_in_copies

#: A worker's handlers and event loop, a pool that is ended again and again. ``{}`` runs it.
PROGRAM = """
import asyncio, multiprocessing, os, signal, sys, threading, time
from mcai_worker_sdk.job.copies import keep_signals_for_copies

def pools():
    # Ended in the instant in which they were started, too.
    for number in range(30):
        pool = multiprocessing.get_context("fork").Pool(2)
        if number % 2:
            pool.map(len, ["a"])
        pool.terminate()
        pool.join()

async def supervise():
    loop, told = asyncio.get_running_loop(), []
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(one, told.append, one)
    await loop.run_in_executor(None, pools)
    return told

def handled_here():
    told = []
    def note(number, _frame):
        told.append(number)
    note.__module__ = "mcai_worker_sdk.supervisor.local"
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, note)
    pools()
    return told

keep_signals_for_copies()
print({})
"""


@pytest.mark.parametrize("run", ["asyncio.run(supervise())", "handled_here()"], ids=["event loop", "handlers"])
def test_a_pool_is_ended_however_often_and_the_worker_hears_of_no_signal(run: str):
    program = PROGRAM.replace("{}", run)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=50, check=False
    )

    assert (done.stdout, done.returncode) == ("[]\n", 0)


HANDLERS = """
import os, signal
from mcai_worker_sdk.job.copies import keep_signals_for_copies
def of_the_script(number, frame): ...
def of_the_worker(number, frame): ...
of_the_worker.__module__ = "mcai_worker_sdk.supervisor.broker"
def set_by_a_job(number, frame): ...
signal.signal(signal.SIGTERM, of_the_script)
signal.signal(signal.SIGINT, signal.default_int_handler)
keep_signals_for_copies()
signal.signal(signal.SIGTERM, of_the_worker)
signal.signal(signal.SIGINT, of_the_worker)
signal.signal(signal.SIGHUP, set_by_a_job)
signal.set_wakeup_fd(os.eventfd(0, os.EFD_NONBLOCK))
if os.fork() == 0:
    handlers = [signal.getsignal(number).__name__ for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    print(*handlers, signal.set_wakeup_fd(-1), signal.pthread_sigmask(signal.SIG_BLOCK, []))
else:
    os.wait()
    print(signal.getsignal(signal.SIGTERM).__name__, signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def test_a_copy_has_the_handlers_of_before_the_worker_but_for_those_that_user_code_set_since():
    done = subprocess.run([sys.executable, "-c", HANDLERS], capture_output=True, text=True, timeout=50, check=True)

    assert done.stdout.splitlines() == [
        "of_the_script default_int_handler set_by_a_job -1 set()",
        "of_the_worker set()",
    ]


def test_a_method_is_called_in_copies_as_long_as_its_object_lives():
    called: list[str] = []

    class Thing:
        def begin(self) -> None:
            called.append("in the copy")

    thing = Thing()
    call_in_copies(thing.begin)
    for alive in (True, False):
        if not alive:
            del thing
            gc.collect()
        pid = os.fork()
        if pid == 0:
            os._exit(len(called))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == alive
    assert called == []


def test_outside_the_main_thread_no_handler_is_touched():
    program = """
import signal, threading
from mcai_worker_sdk.job.copies import keep_signals_for_copies
thread = threading.Thread(target=keep_signals_for_copies)
thread.start()
thread.join()
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)

    assert (done.stdout, done.stderr) == ("True\n", "")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
