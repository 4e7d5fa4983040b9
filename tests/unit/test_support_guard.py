"""Processes of a test run end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

RUN = """
import subprocess, sys
from mcai_worker_sdk.testing.guard import Guard

program = subprocess.Popen(["sleep", "120"], start_new_session=True)
guard = Guard(program.pid)
print(program.pid, flush=True)
"""
DISMISSED = "guard.dismiss()\n"
WAITS = "sys.stdin.read()\n"


def start(code: str) -> tuple[subprocess.Popen[str], int]:
    """A test run of so little, and the program it started; both hold the run's standard output open."""
    run = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    return run, int(run.stdout.readline())


@pytest.mark.parametrize("end", ["killed", "ended"])
def test_a_program_ends_with_the_test_run_that_started_it(end: str):
    run, _ = start(RUN + WAITS)
    if end == "killed":
        run.kill()
    run.communicate()  # until nobody holds its output any more

    assert run.returncode == (-signal.SIGKILL if end == "killed" else 0)


def test_a_program_whose_guard_is_dismissed_lives_on():
    run, program = start(RUN + DISMISSED)
    try:
        assert run.wait() == 0
    finally:
        os.kill(program, signal.SIGKILL)
    run.communicate()
