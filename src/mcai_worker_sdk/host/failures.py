"""What the orchestrator is told of a failure: the exception, its causes, the tail of the traceback, bounded."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from mcai_worker_sdk.errors import WorkerSdkError
from mcai_worker_sdk.logs import mask

__all__ = ["MESSAGE_LIMIT_BYTES", "cut_message", "describe_failure"]

#: A ``job_error`` message is cut to this many bytes of UTF-8; the log has everything.
MESSAGE_LIMIT_BYTES = 4096
#: More causes and members of groups than anybody reads are not even collected.
MOST_RELATED = 50

_PACKAGE = str(Path(__file__).parents[1])


def describe_failure(error: BaseException) -> str:
    """
    Put an exception in words for ``job_error``, secrets masked, at most 4 KiB of UTF-8.

    The SDK's own errors say what to do and stand alone. Those of user code are followed by their notes, their causes,
    the members of a group, and by the traceback, whose end is kept when it does not fit.

    Args:
        error: What ``process`` (or the SDK on its behalf) raised.
    """
    if isinstance(error, WorkerSdkError):
        return cut_message(_text(error) or type(error).__name__)
    # Masked before it is cut: of a secret on the edge, half would stay readable.
    head = _cut_end(mask("\n".join([_headline(error), *_notes(error), *_related(error)])), MESSAGE_LIMIT_BYTES // 2)
    frames = mask("".join(traceback.format_tb(_user_part(error.__traceback__))).rstrip())
    room = MESSAGE_LIMIT_BYTES - _size(head) - 1
    return f"{head}\n{_cut_start(frames, room)}" if frames else head


def cut_message(message: str) -> str:
    """The message as it may be published: secrets masked, at most 4 KiB of UTF-8."""
    return _cut_end(mask(message), MESSAGE_LIMIT_BYTES)


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


def _related(error: BaseException) -> list[str]:
    """A line for each exception that led to this one or is a member of its group, depth first."""
    lines: list[str] = []
    seen = {id(error)}
    waiting = [*_direct(error)]
    while waiting and len(lines) < MOST_RELATED:
        relation, current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        lines.append(f"{relation} {_headline(current)}")
        waiting[:0] = _direct(current)
    return lines


def _direct(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    if isinstance(error, BaseExceptionGroup):
        yield from (("with", member) for member in error.exceptions)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield "caused by", cause


def _size(text: str) -> int:
    return len(text.encode("utf-8", errors="replace"))


def _cut_end(text: str, limit_bytes: int) -> str:
    if _size(text) <= limit_bytes:
        return text
    return text.encode("utf-8", errors="replace")[: limit_bytes - 3].decode("utf-8", errors="ignore") + "..."


def _cut_start(text: str, limit_bytes: int) -> str:
    if _size(text) <= limit_bytes:
        return text
    return "..." + text.encode("utf-8", errors="replace")[3 - limit_bytes :].decode("utf-8", errors="ignore")
