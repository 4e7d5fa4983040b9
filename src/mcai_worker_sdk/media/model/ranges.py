"""``sdk_start_index`` and ``sdk_stop_index``: which part of the source a job reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mcai_worker_sdk.errors import ParameterError

__all__ = ["TickRange", "TimeRange"]

_MS_PER_SECOND = 1000


@dataclass(frozen=True, slots=True)
class TickRange:
    """A :class:`TimeRange` in one stream's time base: [start, stop), either end may be open."""

    start: int | None
    stop: int | None

    def is_before(self, pts: int | None) -> bool:
        """True when a frame with this time stamp comes before the range."""
        return self.start is not None and pts is not None and pts < self.start

    def is_after(self, pts: int | None) -> bool:
        """True when a frame with this time stamp comes after the range."""
        return self.stop is not None and pts is not None and pts >= self.stop


@dataclass(frozen=True, slots=True)
class TimeRange:
    """
    The half-open interval [start, stop) of time stamps whose frames are read.

    The limits are compared with the time stamps as the source holds them (they do not count from the source's first
    frame, and may be negative), before any filter, each stream in its own time base. Over a jump of the source's clock
    time counts on. A frame belongs to the range by its first instant.
    """

    start_ms: int | None = None
    """First time stamp, in milliseconds; ``None``: from the source's beginning."""
    stop_ms: int | None = None
    """First time stamp beyond the range, in milliseconds; ``None``: to the source's end."""

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> TimeRange:
        """
        Read the range from a job's parameters.

        Raises:
            ParameterError: A limit is not a whole number.
        """
        return cls(_whole_ms(values, "sdk_start_index"), _whole_ms(values, "sdk_stop_index"))

    @property
    def start_seconds(self) -> float | None:
        """The start in seconds."""
        return None if self.start_ms is None else self.start_ms / _MS_PER_SECOND

    @property
    def stop_seconds(self) -> float | None:
        """The stop in seconds."""
        return None if self.stop_ms is None else self.stop_ms / _MS_PER_SECOND

    @property
    def is_empty(self) -> bool:
        """True when no time stamp can lie inside."""
        return self.start_ms is not None and self.stop_ms is not None and self.stop_ms <= self.start_ms

    def in_ticks(self, time_base: Fraction | None) -> TickRange:
        """The range in a stream's time base, exactly: a limit between two ticks becomes the later one."""
        if not time_base:
            return TickRange(None, None)
        return TickRange(_ticks(self.start_ms, time_base), _ticks(self.stop_ms, time_base))


def _ticks(limit_ms: int | None, time_base: Fraction) -> int | None:
    return None if limit_ms is None else math.ceil(Fraction(limit_ms, _MS_PER_SECOND) / time_base)


def _whole_ms(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(
            f"Parameter {name!r} is {value!r}; expected a whole number of milliseconds. Correct the order."
        )
    return value
