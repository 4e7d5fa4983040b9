"""
How the worker logs: one handler on the root logger, so that every library's and every user's records take the same way.

Nothing happens on import. :func:`configure_logging` is called by ``start()``; in the job process
:func:`configure_relay` takes its place and sends each record to the supervisor, which writes it
with :func:`emit_relayed`. Handlers and levels of the user are left as they are, but for the handler Python's
``basicConfig`` makes without a format: it would write every line a second time. Secrets are masked in the record
itself, so that no handler shows them. The SDK's own loggers stay on whatever ``dictConfig`` does to those that exist,
and nothing that happens to a file or to standard error ends a process.

A line reads ``{time} UTC - {instance id} - {queue} - {job id or -1} - {LEVEL} - {message}``, a traceback following it.
Functions of this module may be called from any thread.
"""

from __future__ import annotations

from mcai_worker_sdk.logs.configuration import configure_logging, configure_relay, emit_relayed, reset_logging
from mcai_worker_sdk.logs.handlers import RelayHandler
from mcai_worker_sdk.logs.lines import current_job
from mcai_worker_sdk.logs.loggers import get_logger
from mcai_worker_sdk.logs.secrets import MOST_SECRETS, mask, mask_secret

__all__ = [
    "MOST_SECRETS",
    "RelayHandler",
    "configure_logging",
    "configure_relay",
    "current_job",
    "emit_relayed",
    "get_logger",
    "mask",
    "mask_secret",
    "reset_logging",
]
