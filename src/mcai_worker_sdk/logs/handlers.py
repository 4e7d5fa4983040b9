"""Where records go: to standard error, to a file, from the job process to the supervisor."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from mcai_worker_sdk.logs.lines import job_id_of, masked_exception_of, message_of
from mcai_worker_sdk.logs.loggers import get_logger
from mcai_worker_sdk.logs.secrets import mask

__all__ = ["FileHandler", "OwnHandler", "RelayHandler", "StreamHandler", "give_up_standard_error"]

_logger = get_logger(__name__)


class OwnHandler(logging.Handler):
    """What marks the SDK's handlers, and keeps their own failures from showing what they would have masked."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Show on standard error what kept a record from being written."""
        if not logging.raiseExceptions or sys.stderr is None:
            return
        failure = mask(traceback.format_exc())
        with contextlib.suppress(OSError, ValueError):  # Standard error itself may be what has gone.
            sys.stderr.write(f"A log line of {record.name} could not be written. {failure}")


class StreamHandler(OwnHandler, logging.StreamHandler[TextIO]):
    """Writes to a stream, or to whatever standard error is at that moment (a progress bar may have wrapped it)."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(stream)
        self._follows_standard_error = stream is None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if self._follows_standard_error:
            self.stream = sys.stderr
        super().emit(record)


class FileHandler(OwnHandler):
    """
    Appends each line to a file, at once.

    What goes wrong with the file (a full disk, a folder that is not there) is told when it begins. The file is tried
    again with each line.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._descriptor: int | None = None
        self._is_torn = False
        """Whether the last line was written in part."""
        self._is_told = False

    def check(self) -> None:
        """Open the file, and tell at once if that cannot be done."""
        with self.lock or contextlib.nullcontext():
            self._try(b"")

    def emit(self, record: logging.LogRecord) -> None:
        """Append one record."""
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        except Exception:  # noqa: BLE001 - a log call must never fail its caller
            self.handleError(record)
        else:
            self._try(line)

    def close(self) -> None:
        """Close the file. The next record opens it again, should there be one: ``logging.config`` closes handlers."""
        with self.lock or contextlib.nullcontext():
            self._forget()
        super().close()

    def _try(self, line: bytes) -> None:
        try:
            self._write(line)
        except OSError as error:
            self._forget()
            if not self._is_told:
                self._is_told = True
                _logger.warning(
                    "The environment variable FILE_LOGGING is %r, and that file cannot be written (%s): lines are "
                    "missing there. Make room, or name another file; each line tries it again.",
                    str(self._path),
                    error.strerror,
                )
        else:
            self._is_told = False

    def _write(self, line: bytes) -> None:
        if self._descriptor is None:
            self._descriptor = _open_to_append(self._path)
        rest = memoryview(b"\n" + line if self._is_torn and line else line)
        while rest:
            written = os.write(self._descriptor, rest)
            self._is_torn = written < len(rest)
            rest = rest[written:]

    def _forget(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _open_to_append(path: Path) -> int:
    # Neither does a pipe without a reader hold the worker up, nor a terminal become its own.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor


def give_up_standard_error() -> None:
    """At the end of the process: what could not be written must not change its exit code, as from Python 3.14 on."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, sys.stderr.fileno())
            os.close(nothing)


class RelayHandler(OwnHandler):
    """
    Gives each record to a function, formatted, masked and as JSON-ready values.

    The values: ``level`` (int), ``logger``, ``message``, ``exception`` (text or ``None``), ``job_id``, ``created``
    (seconds since 1970, UTC).
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        """
        Args:
            send: Takes the values; called with this handler's lock held, by the thread that logs.
        """
        super().__init__()
        self._send = send
        # Of each thread: a process that user code forks has only the one that forked, whatever others were doing.
        self._sending = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record. One that ``send`` itself logs is left out: it would come back here without end."""
        if getattr(self._sending, "is_on", False):
            return
        self._sending.is_on = True
        try:
            self._send(
                {
                    "level": record.levelno,
                    "logger": record.name,
                    "message": mask(message_of(record)),
                    "exception": masked_exception_of(record),
                    "job_id": job_id_of(record),
                    "created": record.created,
                }
            )
        except Exception:  # noqa: BLE001 - a log call must never fail user code
            self.handleError(record)
        finally:
            self._sending.is_on = False
