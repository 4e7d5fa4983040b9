"""What the orchestrator is told of a failure: the exception, its causes, the tail of the traceback, bounded."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

from mcai_worker_sdk.errors import JobError

__all__ = ["describe_failure"]

#: A ``job_error`` message is cut to this many bytes of UTF-8 (decision B3); the log has everything.
MESSAGE_LIMIT_BYTES = 4096

_PACKAGE = str(Path(__file__).parents[1])


def describe_failure(error: BaseException) -> str:
    """
    Put an exception in words for ``job_error``.

    The SDK's own errors say what to do and stand alone. Those of user code are followed by their causes and by the
    traceback, whose end is kept when it does not fit.

    Args:
        error: What ``process`` (or the SDK on its behalf) raised.
    """
    headline = _headline(error)
    if isinstance(error, JobError):
        return _cut_end(str(error), MESSAGE_LIMIT_BYTES)
    causes = [f"caused by {_headline(cause)}" for cause in _causes(error)]
    head = _cut_end("\n".join([headline, *causes]), MESSAGE_LIMIT_BYTES // 2)
    frames = "".join(traceback.format_tb(_user_part(error.__traceback__))).rstrip()
    room = MESSAGE_LIMIT_BYTES - len(head.encode("utf-8", errors="replace")) - 40
    return f"{head}\n{_cut_start(frames, room)}" if frames else head


def _user_part(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is not the SDK's; the SDK's own frames help nobody."""
    current = trace
    while current is not None and current.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        current = current.tb_next
    return trace if current is None else current


def _headline(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 - user code's __str__ may raise anything
        text = f"<its text cannot be read: {type(failure).__name__}>"
    return f"{name}: {text}" if text else name


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    current: BaseException | None = error
    while current is not None:
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        if current is None or current is error or current in causes:
            break
        causes.append(current)
    return causes


def _cut_end(text: str, limit_bytes: int) -> str:
    data = text.encode("utf-8", errors="replace")
    if len(data) <= limit_bytes:
        return text
    return data[: limit_bytes - 3].decode("utf-8", errors="ignore") + "..."


def _cut_start(text: str, limit_bytes: int) -> str:
    data = text.encode("utf-8", errors="replace")
    if len(data) <= limit_bytes:
        return text
    return "..." + data[3 - limit_bytes :].decode("utf-8", errors="ignore")
