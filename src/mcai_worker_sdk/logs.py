"""
How the worker logs: one handler on the root logger, so that every library's and every user's records take the same way.

Nothing happens on import. :func:`configure_logging` is called by ``start()``; in the job process
:func:`configure_relay` takes its place and sends each record to the supervisor, which writes it
with :func:`emit_relayed`. Handlers and levels of the user are left as they are, but for the handler Python's
``basicConfig`` makes without a format: it would write every line a second time. Secrets are masked in the record
itself, so that no handler shows them.

A line reads ``{time} UTC - {instance id} - {queue} - {job id or -1} - {LEVEL} - {message}``, a traceback following it.
Functions of this module may be called from any thread.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import quote, quote_plus

from mcai_worker_sdk.errors import SettingsError

__all__ = [
    "RelayHandler",
    "configure_logging",
    "configure_relay",
    "current_job",
    "emit_relayed",
    "mask",
    "mask_secret",
    "reset_logging",
]

#: The job id of lines that belong to no job.
NO_JOB: Final = -1
#: Characters. A shorter secret cannot be told from ordinary text; masking it would make the log unreadable.
SHORTEST_SECRET: Final = 4
#: Secrets kept for masking, the newest ones: a worker that lives long meets a new session token with each job.
MOST_SECRETS: Final = 1000

_MASKED = "***"
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


class _Secrets:
    """The texts to be masked, in every spelling in which they may get into a line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest_last: dict[str, None] = {}
        self._longest_first: tuple[str, ...] = ()

    def add(self, secret: str) -> None:
        """Mask it from now on; the oldest gives way when there are too many."""
        with self._lock:
            for text in {secret, secret.strip()}:
                if len(text.strip()) >= SHORTEST_SECRET:
                    self._newest_last.pop(text, None)
                    self._newest_last[text] = None
            while len(self._newest_last) > MOST_SECRETS:
                del self._newest_last[next(iter(self._newest_last))]
            spellings = {spelling for text in self._newest_last for spelling in _spellings(text)}
            self._longest_first = tuple(sorted(spellings, key=len, reverse=True))

    @property
    def are_known(self) -> bool:
        """Whether there is anything to mask."""
        return bool(self._longest_first)

    def mask(self, text: str) -> str:
        """The text without them; the longest first, because one may contain another."""
        for secret in self._longest_first:
            if secret in text:
                text = text.replace(secret, _MASKED)
        return text


def _spellings(secret: str) -> set[str]:
    """A secret as text, inside a Python literal, inside a JSON string, and inside a URL."""
    return {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, errors="surrogatepass"),
        quote(secret, safe="", errors="surrogatepass"),
        quote_plus(secret, errors="surrogatepass"),
    }


_secrets = _Secrets()


def mask_secret(secret: str) -> None:
    """
    Show this text as ``***`` from now on, in every line that is logged and in :func:`mask`.

    Args:
        secret: A password or token. Texts under 4 characters are not masked: they occur in any line by chance.
    """
    _secrets.add(secret)


def mask(text: str) -> str:
    """The text with every known secret shown as ``***``."""
    return _secrets.mask(text)


def configure_logging(
    *,
    level: int,
    only_json: bool,
    file: Path | None,
    instance_id: str,
    queue: str,
    stream: TextIO | None = None,
) -> None:
    """
    Write every record of the process as one line; called again, it replaces what it set up before.

    The root logger's level is set unless user code has changed it from Python's own default, WARNING.

    Args:
        level: Level of the root logger, as ``logging`` counts.
        only_json: One JSON object a line instead of the text form.
        file: The same lines are appended to this file as well.
        instance_id: The worker's identity, for the lines.
        queue: Its job queue, for the lines.
        stream: Where the lines go; ``None`` is standard error, whatever that is when a line is written.

    Raises:
        SettingsError: The file cannot be opened for writing.
    """
    formatter = _JsonFormatter(instance_id, queue) if only_json else _TextFormatter(instance_id, queue)
    handlers: list[_OwnHandler] = [_StreamHandler(stream)]
    if file is not None:
        handlers.append(_open_file(file))
    for handler in handlers:
        handler.setFormatter(formatter)
    _install(level, handlers)


def configure_relay(level: int, send: Callable[[dict[str, Any]], None]) -> None:
    """
    Send every record of this process to the supervisor instead of writing it: the job process's logging.

    Handlers that :func:`configure_logging` set up and this process inherited are taken away; the user's stay.

    Args:
        level: Level of the root logger, under the same rule as in :func:`configure_logging`.
        send: Takes one record as JSON-ready values, for :func:`emit_relayed`; called from the thread that logs.
    """
    _install(level, [RelayHandler(send)])


def emit_relayed(record: dict[str, Any]) -> None:
    """
    Write a record that a :class:`RelayHandler` sent, with its own time, job id and logger name.

    Only the SDK's handlers get it: the user's have seen it in the job process, and its level was judged there. Without
    any (logging is not configured), it is logged as if it had been made here, so that it is not lost.

    Args:
        record: What ``send`` was given.
    """
    relayed = logging.makeLogRecord(
        {
            "name": record["logger"],
            "levelno": record["level"],
            "levelname": logging.getLevelName(record["level"]),
            "msg": record["message"],
            "exc_text": record["exception"],
            "job_id": record["job_id"],
            "created": record["created"],
        }
    )
    handlers = _own_handlers()
    for handler in handlers:
        handler.handle(relayed)
    if not handlers:
        logging.getLogger(relayed.name).handle(relayed)


def reset_logging() -> None:
    """Undo :func:`configure_logging` and :func:`configure_relay`, for those who go on after the worker ended: tests."""
    _remove_own_handlers()
    root = logging.getLogger()
    if root.level == _installed.level:
        root.setLevel(logging.WARNING)
    if _installed.factory is logging.getLogRecordFactory() and _installed.previous_factory is not None:
        logging.setLogRecordFactory(_installed.previous_factory)
    _installed.level = _installed.factory = _installed.previous_factory = None


class _OwnHandler(logging.Handler):
    """What marks the SDK's handlers, and keeps their own failures from showing what they would have masked."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not logging.raiseExceptions or sys.stderr is None:
            return
        failure = mask(traceback.format_exc())
        with contextlib.suppress(OSError, ValueError):  # Standard error itself may be what has gone.
            sys.stderr.write(f"A log line of {record.name} could not be written. {failure}")


class _StreamHandler(_OwnHandler, logging.StreamHandler[TextIO]):
    """Writes to a stream, or to whatever standard error is at that moment (a progress bar may have wrapped it)."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(stream)
        self._follows_standard_error = stream is None

    def emit(self, record: logging.LogRecord) -> None:
        if self._follows_standard_error:
            self.stream = sys.stderr
        super().emit(record)


class _FileHandler(_OwnHandler, logging.FileHandler):
    """Appends to a file."""


class RelayHandler(_OwnHandler):
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
                    "message": mask(_message(record)),
                    "exception": _masked_exception(record),
                    "job_id": _job_id(record),
                    "created": record.created,
                }
            )
        except Exception:  # noqa: BLE001 - a log call must never fail user code
            self.handleError(record)
        finally:
            self._sending.is_on = False


class _TextFormatter(logging.Formatter):
    """The documented text form."""

    def __init__(self, instance_id: str, queue: str) -> None:
        super().__init__()
        self._origin = f"{instance_id} - {queue}"

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its end."""
        exception = _masked_exception(record)
        date, fraction = _time(record)
        moment = f"{date.replace('T', ' ')}.{fraction} UTC"
        line = f"{moment} - {self._origin} - {_job_id(record)} - {_level(record)} - {mask(_message(record))}"
        return line if exception is None else f"{line}\n{exception}"


class _JsonFormatter(logging.Formatter):
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
            "job_id": _job_id(record),
            "logger": record.name,
            "message": mask(_message(record)),
            "exception": _masked_exception(record),
        }
        return json.dumps(line, ensure_ascii=self._is_ascii)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - the arguments are the user's, and so is what goes wrong in them
        text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        return f"{text} (its arguments do not fit: {type(error).__name__})"


def _exception(record: logging.LogRecord) -> str | None:
    if not record.exc_info:
        return record.exc_text
    if record.exc_info[0] is None:
        return None
    return "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")


def _masked_exception(record: logging.LogRecord) -> str | None:
    return mask("\n".join(part for part in (_exception(record), record.stack_info) if part)) or None


def _job_id(record: logging.LogRecord) -> int | str:
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


def _open_file(path: Path) -> _FileHandler:
    try:
        return _FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise SettingsError(
            f"The environment variable FILE_LOGGING is {str(path)!r}; expected the path of a file that can be written "
            f"({error.strerror}). Correct it, or unset it."
        ) from error


_RecordFactory = Callable[..., logging.LogRecord]


class _Installed:
    """What was set up, to be told apart from what the user set up."""

    level: int | None = None
    factory: _RecordFactory | None = None
    previous_factory: _RecordFactory | None = None


_installed = _Installed()


def _install(level: int, handlers: list[_OwnHandler]) -> None:
    _remove_own_handlers()
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if _is_basic(handler):
            root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    if root.level in {logging.WARNING, _installed.level}:
        root.setLevel(level)
        _installed.level = level
    previous = logging.getLogRecordFactory()
    if previous is not _installed.factory:
        _installed.previous_factory = previous
        _installed.factory = _make_factory(previous)
        logging.setLogRecordFactory(_installed.factory)


def _is_basic(handler: logging.Handler) -> bool:
    """Whether it is what ``logging.info()`` sets up by itself, or ``basicConfig()`` without a format of the user's."""
    formatter = handler.formatter
    return (
        type(handler) is logging.StreamHandler
        and handler.stream in {sys.stderr, sys.__stderr__}
        and formatter is not None
        and type(formatter) is logging.Formatter
        and formatter._fmt == logging.BASIC_FORMAT
        and not handler.filters
    )


def _make_factory(previous: _RecordFactory) -> _RecordFactory:
    """A factory of records that carry the job id and no secret, for every handler of the process."""

    def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = previous(*args, **kwargs)
        if not _extra_names_job():
            record.job_id = current_job.get()
        if _secrets.are_known:
            _mask_record(record)
        return record

    return make_record


def _mask_record(record: logging.LogRecord) -> None:
    message = _message(record)
    masked = mask(message)
    if masked != message:
        record.msg, record.args = masked, None
    exception = _exception(record)
    if exception is not None and mask(exception) != exception:
        # What formatters take instead of formatting the exception themselves.
        record.exc_text = mask(exception)
    if record.stack_info:
        record.stack_info = mask(record.stack_info)


def _extra_names_job() -> bool:
    """
    Whether the log call says its job id itself, with ``extra={"job_id": ...}``.

    ``Logger.makeRecord`` adds ``extra`` only after the factory returned, and raises KeyError in the user's log call if
    the record has the key already. It does not hand ``extra`` to the factory, so it is looked up where it is.
    """
    frame = sys._getframe(2)
    for _ in range(4):  # Factories of other libraries may stand between.
        if frame.f_code.co_name == "makeRecord":
            return "job_id" in (frame.f_locals.get("extra") or ())
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def _own_handlers() -> list[_OwnHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _OwnHandler)]


def _remove_own_handlers() -> None:
    for handler in _own_handlers():
        logging.getLogger().removeHandler(handler)
        handler.close()
