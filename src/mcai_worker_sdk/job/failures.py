"""
What the orchestrator is told of a failure, bounded: the exception, its causes, what a program it ran wrote, the tail of
the traceback.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from mcai_worker_sdk.errors import WorkerSdkError
from mcai_worker_sdk.logs import mask
from mcai_worker_sdk.protocol.texts import MESSAGE_LIMIT_BYTES, cut_text

__all__ = ["MESSAGE_LIMIT_BYTES", "captured_output", "cut_message", "describe_failure"]

#: Of a message, what programs wrote to their standard errors: its end, which says why they failed.
OUTPUT_LIMIT_BYTES = 1024
#: Programs of which one failure tells what they wrote.
MOST_OUTPUTS = 4
#: Of what a program wrote, no more than this end is looked at, in characters or bytes.
READ_OUTPUT = 2**18
#: More causes and members of groups than anybody reads are not even collected.
MOST_RELATED = 50

_PACKAGE = str(Path(__file__).parents[1])


def describe_failure(error: BaseException) -> str:
    """
    Put an exception in words for ``job_error``, secrets masked, at most 4 KiB of UTF-8.

    The SDK's own errors say what to do and stand alone. Those of user code are followed by their notes, their causes,
    the members of a group, and by the traceback, whose end is kept when it does not fit. The end of what a program
    wrote, where one of these exceptions has it, comes between.

    Args:
        error: What ``process`` (or the SDK on its behalf) raised.
    """
    output = captured_output(error, OUTPUT_LIMIT_BYTES)
    output = f"\n{output}" if output else ""
    # Masked before it is cut: of a secret on the edge, half would stay readable.
    if isinstance(error, WorkerSdkError):
        return cut_text(mask(_text(error) or type(error).__name__), MESSAGE_LIMIT_BYTES - _size(output)) + output
    head = cut_text(mask("\n".join(_headlines(error))), MESSAGE_LIMIT_BYTES // 2) + output
    frames = mask("".join(traceback.format_tb(_user_part(error.__traceback__))).rstrip())
    room = MESSAGE_LIMIT_BYTES - _size(head) - 1
    return f"{head}\n{_cut_start(frames, room)}" if frames else head


def captured_output(error: BaseException, limit_bytes: int) -> str:
    """
    The end of what programs wrote, as the exceptions of :mod:`subprocess` and of others like it carry it.

    It is the standard error, else the standard output, which holds both for many callers. Secrets are masked.

    Args:
        error: The exception; its causes and the members of a group are asked too.
        limit_bytes: Most bytes of UTF-8 altogether.

    Returns:
        The name of each exception and what its program wrote; empty where no exception carries anything.
    """
    found: list[tuple[str, str]] = []
    for one in (error, *(other for _, other in _related(error))):
        written = _written(one)
        if written is not None and len(found) < MOST_OUTPUTS:
            found.append((f"{type(one).__name__[:40]}.{written[0]}:\n", written[1]))
    share = limit_bytes // max(1, len(found))
    return "\n".join(title + _cut_start(text, share - _size(title) - 1) for title, text in found)


def cut_message(message: str) -> str:
    """The message as it may be published: secrets masked, at most 4 KiB of UTF-8."""
    return cut_text(mask(message))


def _user_part(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is not the SDK's; the SDK's own frames help nobody."""
    current = trace
    while current is not None and current.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        current = current.tb_next
    return trace if current is None else current


def _headline(error: BaseException) -> str:
    text = _text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as failure:  # noqa: BLE001 - user code's __str__ may raise anything, SystemExit too
        return f"<its text cannot be read: {type(failure).__name__}>"


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", ())
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def _headlines(error: BaseException) -> list[str]:
    """The exception, what led to it and the members of its group: a line for each, and their notes."""
    lines = [_headline(error), *_notes(error)]
    for relation, current in _related(error):
        lines += [f"{relation} {_headline(current)}", *_notes(current)]
    return lines


def _related(error: BaseException) -> list[tuple[str, BaseException]]:
    """Each exception that led to this one or is a member of its group, depth first, and before it how it is related."""
    related: dict[int, tuple[str, BaseException]] = {}
    waiting = [*_direct(error)]
    while waiting and len(related) < MOST_RELATED:
        relation, current = waiting.pop(0)
        if current is error or id(current) in related:
            continue
        related[id(current)] = (relation, current)
        waiting[:0] = _direct(current)
    return list(related.values())


def _direct(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    if isinstance(error, BaseExceptionGroup):
        yield from (("with", member) for member in error.exceptions)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield "caused by", cause


def _written(error: BaseException) -> tuple[str, str] | None:
    """The attribute that holds what a program wrote, and that text; ``None`` where there is none."""
    for name in ("stderr", "output", "stdout"):
        value = _attribute(error, name)
        text = _shown(value) if isinstance(value, str | bytes | bytearray) else ""
        if text:
            return name, text
    return None


def _attribute(error: BaseException, name: str) -> object:
    try:
        return getattr(error, name, None)
    except Exception:  # noqa: BLE001 - the attribute may be code of the user's
        return None


def _shown(written: str | bytes | bytearray) -> str:
    """
    The end of what a program wrote, masked, as a terminal shows it; empty for data that are no text.

    Of a line that was written over and over (a progress bar) the last state is shown, and what no terminal can show
    is a replacement character.
    """
    tail = written[-READ_OUTPUT:]
    if isinstance(tail, bytes | bytearray):
        if b"\0" in tail:
            return ""
        tail = tail.decode("utf-8", errors="replace")
    text = mask(tail)
    if len(written) > READ_OUTPUT:
        # A secret that lay on the edge was not masked.
        text = text[len(text) // 2 :]
    lines = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n"))
    return "".join(
        character if character.isprintable() or character in "\t\n" else "\ufffd" for character in "\n".join(lines)
    ).strip("\n")


def _size(text: str) -> int:
    return len(text.encode("utf-8", errors="replace"))


def _cut_start(text: str, limit_bytes: int) -> str:
    if _size(text) <= limit_bytes:
        return text
    return "..." + text.encode("utf-8", errors="replace")[3 - limit_bytes :].decode("utf-8", errors="ignore")
