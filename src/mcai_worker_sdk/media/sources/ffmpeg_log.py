"""What FFmpeg says in its log, for the few moments in which somebody reads it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import av.logging

from mcai_worker_sdk.media.addresses import shown_url

__all__ = ["LogLine", "log_level", "logged_lines", "reason_of"]

#: Level, the part of FFmpeg that says it, and what it says.
LogLine: TypeAlias = tuple[int, str, str]

_MAX_REASON = 500
_MAX_LINES = 3
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]*[^\s'\",.;:)]")

# The level is one for the whole process, and PyAV asks for the GIL at each line once there is one: it is set only where
# somebody reads the lines, and by the last who does so it is set back.
_lock = threading.Lock()
_wanted_levels: list[int] = []
_own_settings: tuple[int | None, bool] = (None, True)


@contextmanager
def log_level(level: int) -> Iterator[None]:
    """Have FFmpeg's log down to this level, every line of it. Any thread; several at once have the lowest level."""
    global _own_settings  # noqa: PLW0603 - PyAV's settings are global
    with _lock:
        if not _wanted_levels:
            _own_settings = av.logging.get_level(), av.logging.get_skip_repeated()
        _wanted_levels.append(level)
        _apply_settings()
    try:
        yield
    finally:
        with _lock:
            _wanted_levels.remove(level)
            _apply_settings()


@contextmanager
def logged_lines() -> Iterator[list[LogLine]]:
    """The lines of FFmpeg's log in this thread, from warnings up, as they come."""
    with log_level(av.logging.WARNING), av.logging.Capture(local=True) as lines:
        # What PyAV held back of an earlier log comes before the next line that differs from it.
        av.logging.log(av.logging.WARNING, "", "")
        lines.clear()
        yield lines


def reason_of(lines: Sequence[LogLine]) -> str:
    """What the first errors say, without what may be secret in the URLs they name; empty when there are none."""
    errors = dict.fromkeys(" ".join(message.split()) for level, part, message in lines if _is_error(level, part))
    text = "; ".join(_URL.sub(lambda found: shown_url(found.group()), error) for error in list(errors)[:_MAX_LINES])
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}..."


def _is_error(level: int, part: str) -> bool:
    # A server's refusal is only a warning to FFmpeg.
    return level <= av.logging.ERROR or part in {"http", "https"}


def _apply_settings() -> None:
    level, skips_repeated = _own_settings
    av.logging.set_skip_repeated(skips_repeated and not _wanted_levels)
    levels = [*_wanted_levels, *([] if level is None else [level])]
    av.logging.set_level(max(levels) if levels else None)
