"""Sets up the logging of a process, and takes in what the job process logs."""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from mcai_worker_sdk.logs.handlers import FileHandler, OwnHandler, RelayHandler, StreamHandler, give_up_standard_error
from mcai_worker_sdk.logs.lines import JsonFormatter, TextFormatter, current_job, exception_of, message_of
from mcai_worker_sdk.logs.secrets import any_secret_is_known, mask

__all__ = ["configure_logging", "configure_relay", "emit_relayed", "reset_logging"]


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
    """
    formatter = JsonFormatter(instance_id, queue) if only_json else TextFormatter(instance_id, queue)
    to_file = None if file is None else FileHandler(file)
    handlers: list[OwnHandler] = [StreamHandler(stream), *([] if to_file is None else [to_file])]
    for handler in handlers:
        handler.setFormatter(formatter)
    _install(level, handlers)
    if to_file is not None:
        to_file.check()
    atexit.register(give_up_standard_error)


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


_RecordFactory = Callable[..., logging.LogRecord]


class _Installed:
    """What was set up, to be told apart from what the user set up."""

    level: int | None = None
    factory: _RecordFactory | None = None
    previous_factory: _RecordFactory | None = None


_installed = _Installed()


def _install(level: int, handlers: list[OwnHandler]) -> None:
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
        if any_secret_is_known():
            _mask_record(record)
        return record

    return make_record


def _mask_record(record: logging.LogRecord) -> None:
    message = message_of(record)
    masked = mask(message)
    if masked != message:
        record.msg, record.args = masked, None
    exception = exception_of(record)
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


def _own_handlers() -> list[OwnHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, OwnHandler)]


def _remove_own_handlers() -> None:
    for handler in _own_handlers():
        logging.getLogger().removeHandler(handler)
        handler.close()
