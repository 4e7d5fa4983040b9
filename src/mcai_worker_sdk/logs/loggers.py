"""The loggers of the SDK's own modules."""

from __future__ import annotations

import logging

__all__ = ["get_logger"]


class _AlwaysOn(logging.Logger):
    """A logger that cannot be disabled. What its level and handlers leave out is the user's choice, as ever."""

    @property
    def disabled(self) -> bool:
        """Never."""
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        """
        ``logging.config`` sets it for every logger that exists and is not named in the configuration, unless that says
        ``disable_existing_loggers: False``. A job that fails would leave no line.
        """


def get_logger(name: str) -> logging.Logger:
    """The logger of a module of the SDK."""
    logger = logging.getLogger(name)
    if not isinstance(logger, _AlwaysOn):
        # The script may have set a class of its own for loggers.
        kind = type(logger)
        logger.__class__ = type(kind.__name__, (_AlwaysOn, kind), {})
    return logger
