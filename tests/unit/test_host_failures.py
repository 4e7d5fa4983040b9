"""What the orchestrator is told of a failure, and of a job process that died."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcai_worker_sdk import logs
from mcai_worker_sdk.errors import JobError, ParameterError
from mcai_worker_sdk.host.process import death
from mcai_worker_sdk.host.process.death import Moment, OutOfMemoryCounter, PeakMemory, describe_death
from mcai_worker_sdk.job.failures import MESSAGE_LIMIT_BYTES, READ_OUTPUT, cut_message, describe_failure
from mcai_worker_sdk.logs import secrets

SECRET = "correct-horse-battery-staple"


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(secrets, "_secrets", secrets._Secrets())
    logs.mask_secret(SECRET)
    return SECRET


def raised(work: Callable[[], object]) -> BaseException:
    """What the work raises, with its traceback."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - a test of just that
        return error
    raise AssertionError("nothing was raised")


def fail(error: BaseException) -> Callable[[], object]:
    def work() -> None:
        raise error

    return work


def size(text: str) -> int:
    return len(text.encode())


# The text


def test_an_exception_is_named_with_its_text_and_the_traceback():
    first, *frames = describe_failure(raised(fail(ValueError("the file is broken")))).splitlines()

    assert first == "ValueError: the file is broken"
    assert "raise error" in frames[-2] or "raise error" in frames[-1]
    assert any(Path(__file__).name in line for line in frames)


def test_an_exception_without_text_is_its_name():
    assert describe_failure(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_an_error_of_the_sdk_stands_alone():
    error = raised(fail(ParameterError("The parameter 'a' is missing.")))

    assert describe_failure(error) == "The parameter 'a' is missing."
    assert describe_failure(JobError()) == "JobError"


def test_causes_and_context_follow_in_their_order():
    def work() -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError:
                raise OSError(2, "second")  # noqa: B904 - the context is the point
        except OSError as error:
            raise RuntimeError("third") from error

    lines = describe_failure(raised(work)).splitlines()

    assert lines[:3] == [
        "RuntimeError: third",
        "caused by FileNotFoundError: [Errno 2] second",
        "caused by KeyError: 'first'",
    ]


def test_a_suppressed_context_is_not_told():
    def work() -> None:
        try:
            raise KeyError("hidden")
        except KeyError:
            raise RuntimeError("shown") from None

    assert "hidden" not in describe_failure(raised(work)).partition("\n")[0]
    assert "caused by" not in describe_failure(raised(work))


def test_members_of_a_group_and_their_causes_are_told():
    async def member(number: int) -> None:
        raise ValueError(f"member {number}") from KeyError(number)

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(member(1))
            group.create_task(member(2))

    lines = describe_failure(raised(lambda: asyncio.run(work()))).splitlines()

    assert lines[:5] == [
        "ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)",
        "with ValueError: member 1",
        "caused by KeyError: 1",
        "with ValueError: member 2",
        "caused by KeyError: 2",
    ]


def test_notes_are_told():
    error = ValueError("x")
    error.add_note("in row 7")

    assert describe_failure(error) == "ValueError: x\nin row 7"


def test_a_circle_of_causes_ends():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    assert describe_failure(first) == "ValueError: first\ncaused by ValueError: second"


def test_an_exception_that_compares_oddly_is_told_all_the_same():
    class OddError(Exception):
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("not comparable")

        __hash__ = Exception.__hash__

    error, cause = OddError("top"), OddError("below")
    error.__cause__, cause.__cause__ = cause, OddError("root")

    assert describe_failure(error) == "OddError: top\ncaused by OddError: below\ncaused by OddError: root"


@pytest.mark.parametrize("failure", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_an_exception_whose_text_cannot_be_read_is_named(failure: type[BaseException]):
    class UnreadableError(Exception):
        def __str__(self) -> str:
            raise failure

    assert describe_failure(UnreadableError()) == f"UnreadableError: <its text cannot be read: {failure.__name__}>"


def test_an_endless_recursion_is_told_in_short():
    def work() -> None:
        work()

    text = describe_failure(raised(work))

    assert text.startswith("RecursionError: maximum recursion depth exceeded")
    assert "Previous line repeated" in text
    assert size(text) <= MESSAGE_LIMIT_BYTES


def test_notes_of_causes_and_of_members_are_told():
    cause, member = KeyError("c"), OSError("m")
    cause.add_note("note of the cause")
    member.add_note("note of the member")
    group = ExceptionGroup("g", [member])
    group.__cause__ = cause

    assert describe_failure(group).splitlines() == [
        "ExceptionGroup: g (1 sub-exception)",
        "with OSError: m",
        "note of the member",
        "caused by KeyError: 'c'",
        "note of the cause",
    ]


# What a program wrote


def failed_program(script: str, **options: Any) -> BaseException:
    """What :func:`subprocess.run` raises of a shell's script."""
    return raised(lambda: subprocess.run(["sh", "-c", script], check=True, **options))


def test_what_a_failed_program_wrote_to_its_standard_error_is_told():
    first, title, *rest = describe_failure(
        failed_program("echo out; echo 'moov atom not found' >&2; exit 3", capture_output=True)
    ).splitlines()

    assert first.startswith("CalledProcessError: ")
    assert first.endswith("returned non-zero exit status 3.")
    assert (title, rest[0]) == ("CalledProcessError.stderr:", "moov atom not found")
    assert rest[1].startswith("  File ")
    assert "out" not in rest


@pytest.mark.parametrize(
    "options",
    [
        {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT},
        {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True},
        {"capture_output": True, "text": True},
    ],
    ids=["bytes", "text", "nothing on the standard error"],
)
def test_without_a_standard_error_of_its_own_the_output_is_told(options: dict[str, Any]):
    text = describe_failure(failed_program("echo 'no such filter'; exit 1", **options))

    assert "\nCalledProcessError.output:\nno such filter\n" in text


def test_what_a_program_wrote_before_its_time_was_over_is_told():
    text = describe_failure(
        failed_program("echo 'waiting for a peer' >&2; exec sleep 60", capture_output=True, timeout=1)
    )

    assert "\nTimeoutExpired.stderr:\nwaiting for a peer\n" in text


def test_a_program_that_wrote_nothing_adds_nothing():
    assert ".stderr" not in describe_failure(failed_program("exit 1", capture_output=True))
    assert ".stderr" not in describe_failure(failed_program("exit 1"))


class ProgramError(Exception):
    """As libraries that wrap a program have one: its text says nothing."""

    def __init__(self, stdout: object, stderr: object) -> None:
        super().__init__("ffmpeg error (see stderr output for detail)")
        self.stdout = stdout
        self.stderr = stderr


def chained(cause: BaseException) -> BaseException:
    error = ValueError("no picture")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("wrap", [lambda e: e, chained, lambda e: ExceptionGroup("g", [e])])
def test_an_exception_of_any_library_is_asked_wherever_it_stands(wrap: Callable[[BaseException], BaseException]):
    text = describe_failure(wrap(ProgramError(b"", b"Unknown encoder 'x'\n")))

    assert text.endswith("\nProgramError.stderr:\nUnknown encoder 'x'")


def test_an_error_of_the_sdk_is_followed_by_what_the_program_behind_it_wrote():
    error = JobError("The clip cannot be read.")
    error.__cause__ = ProgramError(b"", "Invalid data found")

    assert describe_failure(error) == "The clip cannot be read.\nProgramError.stderr:\nInvalid data found"


def test_a_progress_bar_is_told_by_its_last_state_and_what_no_terminal_shows_is_replaced():
    written = b"frame=1\rframe=2\rframe=3\r\n\x1b[31mcaf\xc3\xa9 \xff\x07\x1b[0m\r\n\n"

    assert describe_failure(ProgramError(None, written)).endswith(
        "ProgramError.stderr:\nframe=3\n\ufffd[31mcaf\u00e9 \ufffd\ufffd\ufffd[0m"
    )


@pytest.mark.parametrize("value", [b"RIFF\0\0\0\0WAVE", "", b" \r\n", None, 3, ["text"]], ids=repr)
def test_what_is_no_text_is_not_told(value: object):
    assert describe_failure(ProgramError(value, b"")) == "ProgramError: ffmpeg error (see stderr output for detail)"


def test_an_attribute_that_raises_is_passed_over():
    class OddError(Exception):
        @property
        def stderr(self) -> str:
            raise RuntimeError("not yet")

        output = "no space left"

    assert describe_failure(OddError()) == "OddError\nOddError.output:\nno space left"


@pytest.mark.parametrize("letter", ["x", "\N{SNOWMAN}"])
@pytest.mark.parametrize("count", [1, 4, 40])
def test_the_end_of_what_programs_wrote_is_kept_and_bounded(letter: str, count: int):
    members = [ProgramError("", letter * 10**6 + f"\nthe reason {number}") for number in range(count)]

    text = describe_failure(raised(fail(ExceptionGroup("x" * 5000, members))))

    assert size(text) <= MESSAGE_LIMIT_BYTES
    assert [number for number in range(count) if f"the reason {number}\n" in text] == list(range(min(count, 4)))
    assert "raise error" in text


def test_an_exception_with_an_endless_name_stays_within_the_bound():
    error = type("E" * 9000, (ProgramError,), {})("", "the reason")

    assert size(describe_failure(error)) <= MESSAGE_LIMIT_BYTES
    assert describe_failure(error).endswith("\nthe reason")


# The bound


@pytest.mark.parametrize("letter", ["x", "é", "☃", "🎬"])
@pytest.mark.parametrize("shift", range(4))
def test_a_message_is_at_most_4_kib_of_utf_8_and_cut_between_letters(letter: str, shift: int):
    text = describe_failure(raised(fail(ValueError("a" * shift + letter * 5000))))

    assert size(text) <= MESSAGE_LIMIT_BYTES
    assert size(text) > MESSAGE_LIMIT_BYTES // 2
    assert set(text.splitlines()[0].removeprefix("ValueError: ")) <= {"a", letter, "."}
    # The end of the traceback is kept: it names the line that raised.
    assert "raise error" in text


def test_a_message_of_the_sdk_is_cut_too():
    text = describe_failure(JobError("☃" * 5000))

    assert size(text) <= MESSAGE_LIMIT_BYTES
    assert text.endswith("☃...")


def test_a_message_that_just_fits_is_not_cut():
    assert cut_message("é" * 2048) == "é" * 2048
    assert size(cut_message("é" * 2049)) <= MESSAGE_LIMIT_BYTES


def test_a_thousand_causes_are_bounded():
    error = current = ValueError("0")
    for number in range(1, 1000):
        current.__cause__ = ValueError(str(number))
        current = current.__cause__

    assert size(describe_failure(error)) <= MESSAGE_LIMIT_BYTES


# Secrets


def test_a_secret_is_masked_in_text_cause_note_and_traceback(secret: str):
    error = ValueError(f"text {secret}")
    error.__cause__ = KeyError(f"cause {secret}")
    error.add_note(f"note {secret}")

    text = describe_failure(raised(fail(error)))

    assert secret not in text
    assert text.startswith("ValueError: text ***\nnote ***\ncaused by KeyError: 'cause ***'")


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize("after", range(0, 1100, 7))
def test_a_secret_is_masked_in_what_a_program_wrote_also_on_the_edge(secret: str, after: int, as_bytes: bool):
    written = f"key={secret} " + "y" * after

    text = describe_failure(ProgramError("", written.encode() if as_bytes else written))

    assert not any(secret[-length:] in text for length in range(8, len(secret) + 1))


@pytest.mark.parametrize("cut", range(1, len(SECRET)))
def test_half_a_secret_at_the_edge_of_what_is_looked_at_is_not_told(secret: str, cut: int):
    written = secret + "\n" + "9%\r" * (READ_OUTPUT // 3 + 9)
    written = written[: READ_OUTPUT + len(secret) - cut]

    assert secret[-8:] not in describe_failure(ProgramError("", written))


@pytest.mark.parametrize("before", range(MESSAGE_LIMIT_BYTES - 40, MESSAGE_LIMIT_BYTES + 1))
def test_a_secret_on_the_edge_of_the_bound_does_not_show_its_half(secret: str, before: int):
    assert secret[:4] not in cut_message("x" * before + secret + "y" * 100)


# Deaths


@pytest.mark.parametrize("moment", Moment)
def test_an_exit_code_is_told_with_the_moment_and_what_was_expected(moment: Moment):
    text = describe_death(3, moment, out_of_memory=False, peak_memory="Peak memory 5 MB.")

    assert text.startswith(f"The job process ended with exit code 3 {moment}; expected ")
    assert text.endswith(" Peak memory 5 MB.")


@pytest.mark.parametrize(
    ("number", "out_of_memory", "cause"),
    [
        (signal.SIGSEGV, False, "(SIGSEGV) in the middle of the job, a crash in native code."),
        (signal.SIGTERM, False, "(SIGTERM) in the middle of the job, by its own code or by somebody."),
        (signal.SIGKILL, False, "(SIGKILL) in the middle of the job: by somebody, or by a kernel short of memory."),
        (signal.SIGKILL, True, "(SIGKILL) in the middle of the job: the container ran out of memory."),
        (signal.SIGRTMIN + 1, False, "(unknown) in the middle of the job, by its own code or by somebody."),
    ],
)
def test_a_signal_is_told_with_its_name_and_likely_cause(number: int, out_of_memory: bool, cause: str):
    text = describe_death(-number, Moment.JOB, out_of_memory=out_of_memory, peak_memory="Peak memory 5 MB.")

    assert text.startswith(f"The job process was killed by signal {int(number)} {cause}")
    assert "Peak memory 5 MB." in text


def test_the_kernels_counter_is_read_and_asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    events = tmp_path / "memory.events"
    monkeypatch.setattr(death, "_COUNTER_FILES", (tmp_path / "absent", events))
    counter = OutOfMemoryCounter()

    assert counter.raised() is False
    events.write_text("low 0\noom 2\noom_kill 1\n")
    assert counter.raised() is True
    assert counter.raised() is False


def test_the_peak_of_a_smaller_process_is_only_bounded(monkeypatch: pytest.MonkeyPatch):
    largest_mb = iter([10, 900, 900])
    monkeypatch.setattr(PeakMemory, "_largest_child_mb", staticmethod(lambda: next(largest_mb)))
    peak = PeakMemory()

    peak.process_ended()
    assert peak.in_words() == "Peak memory 900 MB."
    peak.process_ended()
    assert peak.in_words() == "Peak memory at most 900 MB."
