"""The form of a line: as text, or as a JSON object."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from typing import Final

from mcai_worker_sdk.logs.secrets import mask

__all__ = [
    "JsonFormatter",
    "TextFormatter",
    "current_job",
    "exception_of",
    "job_id_of",
    "masked_exception_of",
    "message_of",
]

#: The job id of lines that belong to no job.
NO_JOB: Final = -1

_MICROSECONDS = 1_000_000


class _CurrentJob:
    """The job this process is running, for the job id of log records. Process-wide: threads of the job have it too."""

    def __init__(self) -> None:
        self._job_id = NO_JOB

    def set(self, job_id: int) -> None:
        """From now on records carry this job id."""
        self._job_id = job_id

    def clear(self) -> None:
        """From now on records belong to no job."""
        self._job_id = NO_JOB

    def get(self) -> int:
        """The job's id, or -1."""
        return self._job_id


current_job: Final = _CurrentJob()


class TextFormatter(logging.Formatter):
    """The documented text form."""

    def __init__(self, instance_id: str, queue: str) -> None:
        super().__init__()
        self._origin = f"{instance_id} - {queue}"

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its end."""
        exception = masked_exception_of(record)
        date, fraction = _time(record)
        moment = f"{date.replace('T', ' ')}.{fraction} UTC"
        line = f"{moment} - {self._origin} - {job_id_of(record)} - {_level(record)} - {mask(message_of(record))}"
        return line if exception is None else f"{line}\n{exception}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line; ``exception`` is ``null`` where there is none."""

    def __init__(self, instance_id: str, queue: str) -> None:
        super().__init__()
        self._instance_id = instance_id
        self._queue = queue
        # JSON is UTF-8. Standard error of another locale would write what it cannot by escapes that JSON does not know.
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        self._is_ascii = encoding.lower().replace("_", "-") not in {"utf-8", "utf8"}

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its end."""
        date, fraction = _time(record)
        line = {
            "time": f"{date}.{fraction}Z",
            "level": _level(record),
            "instance_id": self._instance_id,
            "queue": self._queue,
            "job_id": job_id_of(record),
            "logger": record.name,
            "message": mask(message_of(record)),
            "exception": masked_exception_of(record),
        }
        return json.dumps(line, ensure_ascii=self._is_ascii)


def message_of(record: logging.LogRecord) -> str:
    """The message with its arguments; what is wrong with them instead, where they do not fit."""
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - the arguments are the user's, and so is what goes wrong in them
        text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        return f"{text} (its arguments do not fit: {type(error).__name__})"


def exception_of(record: logging.LogRecord) -> str | None:
    """The traceback, if there is one."""
    if not record.exc_info:
        return record.exc_text
    if record.exc_info[0] is None:
        return None
    return "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")


def masked_exception_of(record: logging.LogRecord) -> str | None:
    """The traceback and the stack, without secrets."""
    return mask("\n".join(part for part in (exception_of(record), record.stack_info) if part)) or None


def job_id_of(record: logging.LogRecord) -> int | str:
    """A record made before the factory was there, or by hand, has none."""
    job_id = getattr(record, "job_id", None)
    if job_id is None:
        return NO_JOB
    return job_id if isinstance(job_id, int) else str(job_id)


def _level(record: logging.LogRecord) -> str:
    """The four words the reference writes; CRITICAL is an ERROR there, and levels of one's own go by their number."""
    if record.levelno >= logging.ERROR:
        return "ERROR"
    if record.levelno >= logging.WARNING:
        return "WARN"
    return "INFO" if record.levelno >= logging.INFO else "DEBUG"


def _time(record: logging.LogRecord) -> tuple[str, str]:
    """Date with time of day in UTC, and nine digits of the second, of which a float holds six."""
    seconds, microseconds = divmod(round(record.created * _MICROSECONDS), _MICROSECONDS)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)), f"{microseconds:06d}000"
