"""Why libsrt refuses the callers of a listener: there is no call that tells, only a line of its log."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.srt.libsrt import LogHook, SrtLibrary

__all__ = ["refusals"]

_logger = get_logger(__name__)

#: What a listener logs of a caller that libsrt itself refuses; reasons of applications have higher numbers.
_REFUSAL = re.compile(rb"processConnectRequest: rsp\(REJECT\): 10\d\d - ([^\r\n]+)")
#: syslog's levels.
_LOG_CRITICAL = 2
_LOG_WARNING = 4

# The log is one for the whole process: libsrt is given one hook for good, and writes warnings only while one listens.
_level_lock = threading.Lock()
# libsrt holds a lock of its own while it calls the hook, and wants it to change the level: this one is not held then.
_lock = threading.Lock()
_listening: dict[int, tuple[str, list[str]]] = {}


@contextmanager
def refusals(library: SrtLibrary, handle: int, address: str) -> Iterator[list[str]]:
    """
    While a listener waits, log once for each reason that callers were refused.

    libsrt does not say which listener refused: where several wait, each has the reason.

    Args:
        library: The binding.
        handle: The listening socket.
        address: Its address, for the log.

    Yields:
        The reasons, in libsrt's words, as they come.
    """
    reasons: list[str] = []
    with _level_lock:
        with _lock:
            _listening[handle] = address, reasons
        library.set_log(_LOG_WARNING, _hook)
    try:
        yield reasons
    finally:
        with _level_lock:
            with _lock:
                del _listening[handle]
            if not _listening:
                library.set_log(_LOG_CRITICAL, _hook)


def _note(_opaque: object, _level: int, _file: object, _line: int, _area: object, message: bytes | None) -> None:
    """Called by libsrt, in its thread, for each line of its log."""
    refusal = _REFUSAL.search(message or b"")
    if refusal is None:
        return
    reason = refusal.group(1).decode("utf-8", errors="replace")
    with _lock:
        waiting = [(address, reasons) for address, reasons in _listening.values() if reason not in reasons]
        for _, reasons in waiting:
            reasons.append(reason)
    for address, _ in waiting:
        _logger.warning("An SRT caller of %s was refused: %s. Compare the options of both ends", address, reason)


_hook = LogHook(_note)
