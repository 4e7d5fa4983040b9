"""What the orchestrator is told of a failure, and of a job process that died."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mcai_worker_sdk import logs
from mcai_worker_sdk.errors import JobError, ParameterError
from mcai_worker_sdk.host import death
from mcai_worker_sdk.host.death import Moment, OutOfMemoryCounter, PeakMemory, describe_death
from mcai_worker_sdk.host.failures import MESSAGE_LIMIT_BYTES, cut_message, describe_failure

SECRET = "correct-horse-battery-staple"


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(logs, "_secrets", logs._Secrets())
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
