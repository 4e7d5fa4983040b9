"""Spans of time: rows of intervals that rise and do not touch."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TypeAlias

__all__ = ["ALWAYS", "Interval", "Intervals", "intersection", "union", "without"]

#: Begin and end in seconds; the end is no part of it.
Interval: TypeAlias = tuple[float, float]
Intervals: TypeAlias = tuple[Interval, ...]

#: Every moment.
ALWAYS: Intervals = ((0.0, inf),)


def intersection(first: Intervals, second: Intervals) -> Intervals:
    """The moments that lie in both."""
    if second is ALWAYS:
        return first
    return tuple(
        (max(one[0], other[0]), min(one[1], other[1]))
        for one in first
        for other in second
        if max(one[0], other[0]) < min(one[1], other[1])
    )


def union(first: Intervals, second: Intervals) -> Intervals:
    """The moments that lie in one or in both."""
    merged: list[Interval] = []
    for start, end in sorted((*first, *second)):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start < end:
            merged.append((start, end))
    return tuple(merged)


def without(first: Intervals, second: Sequence[Interval]) -> Intervals:
    """The moments of the first that do not lie in the second."""
    left = first
    for start, end in second:
        left = intersection(left, _outside(start, end))
    return left


def _outside(start: float, end: float) -> Intervals:
    return tuple((a, b) for a, b in ((0.0, start), (end, inf)) if a < b)
