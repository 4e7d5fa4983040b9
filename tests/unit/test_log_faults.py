"""Nothing that happens to the log ends a process, and nothing that is configured silences the SDK's own lines."""

from __future__ import annotations

import logging
import logging.config
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mcai_worker_sdk.logs import get_logger

#: Logs a line for each argument, having done what the argument says in Python.
PROGRAM = """
import logging, os, resource, sys
from pathlib import Path
from mcai_worker_sdk.logs import configure_logging
path = Path(sys.argv[1])
configure_logging(level=20, only_json=False, file=path, instance_id="worker-1", queue="job_test")
for number, statement in enumerate(sys.argv[2:]):
    exec(statement)
    logging.info("line %d", number)
"""


def run(path: Path, *statements: str) -> subprocess.CompletedProcess[str]:
    """The program's end: it is never ended by its log."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), *statements], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def lines(text: str) -> list[str]:
    return [line.rpartition(" - ")[2] for line in text.splitlines() if " - line " in line]


def warnings(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if " - WARN - " in line]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/dev/full", "No space left on device"),
        ("{}/none/log", "No such file or directory"),
        ("{}", "Is a directory"),
        ("{}/pipe", "No such device or address"),
        ("{}/" + "x" * 300, "File name too long"),
    ],
    ids=["full", "no folder", "a folder", "a pipe that nobody reads", "name"],
)
def test_a_file_that_cannot_be_written_is_told_once_and_every_line_is_on_standard_error(
    tmp_path: Path, path: str, why: str
):
    os.mkfifo(tmp_path / "pipe")
    file = path.format(tmp_path)

    done = run(Path(file), "", "", "")

    (warning,) = warnings(done)
    assert f"FILE_LOGGING is '{file}', and that file cannot be written ({why}): lines are missing there." in warning
    assert lines(done.stderr) == ["line 0", "line 1", "line 2"]


def test_a_file_that_can_be_written_again_has_the_lines_from_then_on_and_a_new_fault_is_told_anew(tmp_path: Path):
    folder = tmp_path / "folder"
    path = folder / "log"

    done = run(path, "", "path.parent.mkdir()", "", "path.parent.rename(path.parent.with_name('other'))", "")

    # An open file stays what it is wherever its folder goes.
    assert lines((tmp_path / "other" / "log").read_text()) == ["line 1", "line 2", "line 3", "line 4"]
    assert len(warnings(done)) == 1


def test_a_line_that_was_cut_short_spoils_no_other(tmp_path: Path):
    path = tmp_path / "log"
    # 150 bytes: the second line is written in part. Python ignores the signal that would come with it.
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, ({}, resource.RLIM_INFINITY))"

    done = run(path, limit.format(150), "", "", limit.format("resource.RLIM_INFINITY"), "")

    first, torn, *others = path.read_text().splitlines()
    assert first.endswith("line 0")
    assert not torn.endswith("line 1")
    assert [line.rpartition(" - ")[2] for line in others] == ["line 3", "line 4"]
    assert "File too large" in warnings(done)[0]
    assert lines(done.stderr) == [f"line {number}" for number in range(5)]


def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def read_by_nobody() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.parametrize("standard_error", [full, read_by_nobody, None], ids=["full", "read by nobody", "closed"])
def test_standard_error_that_cannot_be_written_changes_no_exit_code_and_the_file_has_every_line(
    tmp_path: Path, standard_error: Callable[[], int] | None
):
    path = tmp_path / "log"
    command = [sys.executable, "-c", PROGRAM, str(path), "", "", ""]
    if standard_error is None:
        done = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *command], timeout=50, check=False)
    else:
        descriptor = standard_error()
        done = subprocess.run(command, stderr=descriptor, timeout=50, check=False)
        os.close(descriptor)

    assert lines(path.read_text()) == ["line 0", "line 1", "line 2"]
    assert done.returncode == 0


# The SDK's own loggers

CONFIGURED = {"version": 1, "loggers": {"of.the.user": {"level": "DEBUG"}}}
FILE_CONFIGURED = """
[loggers]
keys=root
[handlers]
keys=
[formatters]
keys=
[logger_root]
handlers=
"""


@pytest.fixture
def logging_as_it_was():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("logging_as_it_was")
@pytest.mark.parametrize("by", ["dictConfig", "fileConfig", "hand"])
def test_a_logger_of_the_sdk_stays_on_whatever_disables_those_that_exist(by: str, tmp_path: Path):
    own, others = get_logger("mcai_worker_sdk.test"), logging.getLogger("others")
    match by:
        case "dictConfig":
            logging.config.dictConfig(CONFIGURED)
        case "fileConfig":
            (tmp_path / "logging.ini").write_text(FILE_CONFIGURED)
            logging.config.fileConfig(tmp_path / "logging.ini")
        case "hand":
            own.disabled = others.disabled = True

    try:
        assert others.disabled
        assert not own.disabled
        assert own.isEnabledFor(logging.ERROR)
    finally:
        for logger in logging.Logger.manager.loggerDict.values():
            if isinstance(logger, logging.Logger):
                logger.disabled = False


def test_what_a_logger_of_the_sdk_leaves_out_is_the_users_choice():
    own = get_logger("mcai_worker_sdk.test.level")
    own.setLevel(logging.ERROR)

    assert not own.isEnabledFor(logging.WARNING)
    assert get_logger("mcai_worker_sdk.test.level") is own


def test_a_class_that_the_script_has_set_for_loggers_is_kept():
    class Shouting(logging.Logger):
        def shout(self) -> str:
            return self.name.upper()

    logging.setLoggerClass(Shouting)
    try:
        own = get_logger("mcai_worker_sdk.test.class")
    finally:
        logging.setLoggerClass(logging.Logger)
    own.disabled = True

    assert isinstance(own, Shouting)
    assert own.shout() == "MCAI_WORKER_SDK.TEST.CLASS"
    assert not own.disabled


def test_every_module_of_the_sdk_logs_by_such_a_logger():
    source = Path(__file__).parents[2] / "src" / "mcai_worker_sdk"
    offending = [
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if path.parent.name != "logs" and "logging.getLogger(" in path.read_text()
    ]

    # pika's own loggers are silenced by their level.
    assert offending == ["exchange/rabbitmq/adapter.py"]
