"""How a worker's program is taken down and run again, and what says that it cannot be."""

from __future__ import annotations

import code
import json
import marshal
import os
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from mcai_worker_sdk import launch as launch_module
from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.host.link import messages
from mcai_worker_sdk.host.process.program import WorkerProgram, _to_run_compiled, worker_program
from mcai_worker_sdk.launch import JOB_LINK_VARIABLE, LAUNCH, GivenLink, Launch

LAUNCHED = replace(LAUNCH, executable="/usr/bin/python", command_line=("python", "-O", "worker.py", "a"), folder="/srv")
TELL = """
import json, os, sys
import mcai_worker_sdk.launch as launch
given = launch.LAUNCH.given_link
print(json.dumps({
    "given": given and [os.fstat(given.descriptor).st_ino, os.get_inheritable(given.descriptor)],
    "told": given and given.to_variable().split(":")[1:],
    "is below": launch.LAUNCH.is_below_job_process,
    "variable": os.environ.get("MCAI_JOB_LINK"),
    "folder": os.getcwd(),
    "leads a session": os.getsid(0) == os.getpid(),
}))
"""


# What is taken down


def test_the_command_line_is_run_by_the_same_interpreter_in_the_folder_of_the_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SET_BY_THE_SCRIPT", "x")
    launched = replace(LAUNCHED, environment={"TAKEN_OUT_BY_THE_SCRIPT": "y", "SET_BY_THE_SCRIPT": "before"})

    program = worker_program(2, launched)

    assert program.command == ("/usr/bin/python", "-O", "worker.py", "a")
    assert (program.folder, program.start_number, program.compiled_script) == ("/srv", 2, None)
    assert program.environment["SET_BY_THE_SCRIPT"] == "x"
    assert program.environment["TAKEN_OUT_BY_THE_SCRIPT"] == "y"


@pytest.mark.parametrize(
    ("launched", "reason"),
    [
        (replace(LAUNCHED, executable=""), "Python is embedded in another program"),
        (replace(LAUNCHED, command_line=()), "Python is embedded in another program"),
        (replace(LAUNCHED, pid=1), "this process was forked from the one that has it"),
    ],
)
def test_what_has_no_command_line_of_its_own_is_told(launched: Launch, reason: str):
    with pytest.raises(HostError) as refused:
        worker_program(1, launched)

    assert str(refused.value) == (
        f"The worker's command line cannot be run again: {reason}. Start the worker as a program of its own (python "
        "worker.py, python -m my_worker), or set MCAI_ISOLATION=thread."
    )


@pytest.mark.parametrize("prompts", [True, False])
def test_an_interactive_session_is_told(monkeypatch: pytest.MonkeyPatch, prompts: bool):
    # A notebook has a main module without a file, an interpreter that prompts has it, too.
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    if prompts:
        monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)

    with pytest.raises(HostError, match="start\\(\\) was called in an interactive session"):
        worker_program(1, LAUNCHED)


def test_a_child_of_multiprocessing_is_told():
    script = "from tests.unit.test_host_program import in_child\nif __name__ == '__main__': in_child()"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)

    assert "this process is a child of multiprocessing, whose parent's command line it would be" in told.stdout


ROOT = Path(__file__).parents[2]


def in_child() -> None:
    import multiprocessing

    child = multiprocessing.get_context("spawn").Process(target=print_refusal)
    child.start()
    child.join()


def print_refusal() -> None:
    try:
        worker_program(1)
    except HostError as error:
        print(error, flush=True)


# What the new process is given


def run(program: WorkerProgram) -> tuple[dict[str, object], int]:
    """What a program says that was run with :data:`TELL`, and the number of its end of the link's file."""
    supervisor_end, job_end = messages.socket_pair()
    with supervisor_end, job_end:
        inode = os.fstat(job_end.fileno()).st_ino
        read, write = os.pipe()
        with open(read) as output:
            # Standard output is inherited: that of this process meanwhile.
            before = os.dup(1)
            os.dup2(write, 1)
            try:
                process = program.run(job_end)
            finally:
                os.dup2(before, 1)
                os.close(before)
                os.close(write)
            said = json.loads(output.read())
        assert process.wait() == 0
    return said, inode


def test_the_link_is_inherited_and_told_by_a_variable_that_is_gone_at_once(tmp_path: Path):
    program = WorkerProgram((sys.executable, "-c", TELL), str(tmp_path), dict(os.environ), start_number=3)

    said, inode = run(program)

    assert said == {
        "given": [inode, False],
        "told": [str(os.getpid()), "3"],
        "is below": False,
        "variable": None,
        "folder": str(tmp_path),
        "leads a session": True,
    }


def test_what_the_script_starts_before_it_imports_the_package_knows_that_it_is_no_job_process():
    script = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {TELL!r}], check=True)"
    program = WorkerProgram((sys.executable, "-c", script), None, dict(os.environ), start_number=1)

    said, _ = run(program)

    assert (said["given"], said["is below"], said["variable"]) == (None, True, None)


def test_a_compiled_script_is_read_from_standard_input_as_python_does_it():
    script = code.compile_command(
        "import sys; print(repr([__name__, __file__, sys.argv, sys.stdin.read()]))", "<stdin>", "exec"
    )
    assert script is not None
    for arguments, seen in [(("-B", "-", "a", "-"), ["-", "a", "-"]), (("-B",), [""])]:
        done = subprocess.run(
            [sys.executable, *_to_run_compiled(arguments)], input=marshal.dumps(script), capture_output=True, check=True
        )

        assert done.stdout.decode() == f"{['__main__', '<stdin>', seen, '']!r}\n"


def test_a_folder_that_is_gone_is_named():
    supervisor_end, job_end = messages.socket_pair()
    program = WorkerProgram((sys.executable,), "/no/folder", {}, start_number=1)

    with supervisor_end, job_end, pytest.raises(HostError, match=r"No such file.*in the folder /no/folder: both must"):
        program.run(job_end)


@pytest.mark.parametrize("value", ["", "x", "1:2", "1:2:x", "1:2:3:4"])
def test_a_variable_of_another_form_is_none_of_ours(value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(JOB_LINK_VARIABLE, value)

    taken_down = launch_module._take_down()

    assert GivenLink.from_variable(value) is taken_down.given_link is None
    assert not taken_down.is_below_job_process


def test_a_current_folder_that_was_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert launch_module._take_down().folder is None
