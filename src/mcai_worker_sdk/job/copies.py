"""What is put right in the copies of a process that user code forks: pools, loaders, ``os.fork()``."""

from __future__ import annotations

import functools
import os
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["call_in_copies", "keep_signals_for_copies"]

#: Those that the worker handles itself where user code runs in its process.
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def call_in_copies(method: Callable[[], None]) -> None:
    """
    Have a method called in every copy of this process, before the code that forked it goes on there.

    Args:
        method: A bound method; its object is not kept alive by this.
    """
    _register_once()
    _methods.add(weakref.WeakMethod(method, _methods.discard))


#: The methods to call, of objects that are alive. What is registered at forks stays registered: one function for all.
_methods: set[weakref.WeakMethod[Callable[[], None]]] = set()


@functools.cache
def _register_once() -> None:
    os.register_at_fork(after_in_child=_call_methods)


def _call_methods() -> None:
    for reference in tuple(_methods):
        method = reference()
        if method is not None:
            method()


class _Signals:
    """What the script had set for signals. One for the process: a function called at forks stays registered."""

    def __init__(self) -> None:
        self.handlers: dict[int, Any] = {}
        self.wakeup_descriptor = -1
        self._is_registered = False
        self._mask = threading.local()

    def register(self) -> None:
        """Have them restored in copies. Idempotent."""
        if not self._is_registered:
            self._is_registered = True
            os.register_at_fork(before=self._hold, after_in_parent=self._go_on, after_in_child=self._restore)

    def _hold(self) -> None:
        # One that came to the copy before its handlers are restored would tell the worker, and not end the copy.
        self._mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)

    def _go_on(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask.before)

    def _restore(self) -> None:
        signal.set_wakeup_fd(self.wakeup_descriptor)
        for number, handler in self.handlers.items():
            # One that Python did not set cannot be set by it; one that user code has set since is user code's.
            if handler is not None and _is_of_worker(signal.getsignal(number)):
                signal.signal(number, handler)
        self._go_on()


def _is_of_worker(handler: Any) -> bool:
    """Whether the worker has set it, or the event loop on its behalf."""
    return (getattr(handler, "__module__", None) or "").startswith(("mcai_worker_sdk.", "asyncio."))


_signals = _Signals()


def keep_signals_for_copies() -> None:
    """
    Have copies of this process begin with the signal handlers of this moment, whatever the worker sets later.

    The worker's own handlers would keep ``Pool.terminate()`` from ending a copy, and the event loop's descriptor would
    tell the worker of its copies' signals. Does nothing outside the main thread, where no handler can be set.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    _signals.handlers = {number: signal.getsignal(number) for number in _HANDLED}
    _signals.wakeup_descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(_signals.wakeup_descriptor)
    _signals.register()
