"""Waiting for something to open, without becoming deaf to a stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from mcai_worker_sdk.logs import get_logger

__all__ = ["Opening", "Stoppable"]

_logger = get_logger(__name__)

_T = TypeVar("_T")

#: How often a wait looks whether the job shall stop, in seconds.
STOP_CHECK_SECONDS = 0.1


class Stoppable(Protocol):
    """A job's channel, or the opening of one of the job's ends, which may be given up before the job is."""

    def is_stopped(self) -> bool:
        """True once nobody waits any more. Any thread."""


class Opening(Generic[_T]):
    """
    A call that opens something, in a thread of its own; the owner of what it opened, until it is closed.

    :meth:`close` gives back whatever there is or will be, wherever :meth:`open` was interrupted.

    Args:
        channel: The job's channel; its stop ends the wait.
    """

    def __init__(self, channel: Stoppable) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._release: Callable[[_T], None] = _nothing
        self._interrupt: Callable[[], None] = _nothing
        self._opened: _T | None = None
        self._failure: BaseException | None = None
        self._is_closed = False

    def open(
        self,
        call: Callable[[Stoppable], _T | None],
        release: Callable[[_T], None],
        interrupt: Callable[[], None] | None = None,
    ) -> _T | None:
        """
        Begin, and wait for what the call gives; once.

        Args:
            call: Opens something; is told whether to give up. ``None`` stands for nothing.
            release: Gives back what was opened; may be called for what is closed already.
            interrupt: Makes a call end that waits and does not look whether it shall.

        Returns:
            What was opened; ``None`` when the job was stopped before it came back.

        Raises:
            BaseException: What the call raised.
        """
        self._release = release
        self._interrupt = interrupt or _nothing
        self._thread = threading.Thread(target=self._run, args=(call,), name="media-opening", daemon=True)
        self._thread.start()
        while not self._done.wait(STOP_CHECK_SECONDS):
            if self._channel.is_stopped():
                self.close()
                return None
        if self._failure is not None:
            raise self._failure
        return self._opened

    def is_stopped(self) -> bool:
        """True once the job was stopped, or nobody wants what is opened here."""
        return self._is_closed or self._channel.is_stopped()

    def close(self) -> None:
        """Give back what was opened, be it only later; may be called again."""
        with self._lock:
            self._is_closed = True
        # Kept until it is released: an interrupted close may be called again.
        if self._opened is not None:
            self._release(self._opened)
            self._opened = None
        elif self._thread is not None and self._thread.is_alive():
            self._interrupt()

    def _run(self, call: Callable[[Stoppable], _T | None]) -> None:
        try:
            if self._is_closed:
                return
            opened = call(self)
            with self._lock:
                is_wanted = not self._is_closed
                if is_wanted:
                    self._opened = opened
            if not is_wanted and opened is not None:
                self._release(opened)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits
            self._failure = error
            if self._is_closed:
                _logger.info("What was given up failed meanwhile: %s", error)
        finally:
            self._done.set()


def _nothing(*_: object) -> None:
    """Do nothing."""
