"""Two observations compared: every difference found must be listed, every one listed must be found."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ABSENT", "ANY_SCENARIO", "Difference", "Found", "Text", "check", "find_differences"]


class _Absent:
    def __repr__(self) -> str:
        return "(nothing)"


#: A message that was not published, or a key that is not there.
ABSENT = _Absent()
ANY_SCENARIO = ("*",)


@dataclass(frozen=True, slots=True)
class Text:
    """Any text that matches the whole of this regular expression; ``.`` matches line ends as well."""

    pattern: str

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Text):
            return self.pattern == other.pattern
        return isinstance(other, str) and re.fullmatch(self.pattern, other, re.DOTALL) is not None

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Difference:
    """
    One row of the table of intended differences.

    Attributes:
        scenarios: Where it shows; it must show in each of them.
        where: The place, as :func:`find_differences` names it; ``*`` stands for anything.
        recorded: What the reference did; may hold :class:`Text`.
        ours: What this SDK does; may hold :class:`Text`. A dict is compared by the keys it names.
        reason: Why, with the decision it follows from.
        inline: Whether it shows without a broker too.
    """

    scenarios: Sequence[str]
    where: str
    recorded: Any
    ours: Any
    reason: str
    inline: bool = True

    def concerns(self, scenario: str) -> bool:
        """Whether it must show in this scenario."""
        return self.scenarios == ANY_SCENARIO or scenario in self.scenarios

    def explains(self, found: Found) -> bool:
        """Whether this row is about what was found."""
        place = ".*".join(re.escape(part) for part in self.where.split("*"))
        return (
            re.fullmatch(place, found.where) is not None
            and _agrees(self.recorded, found.recorded)
            and _agrees(self.ours, found.ours)
        )


@dataclass(frozen=True, slots=True)
class Found:
    """One difference between the recording and a run."""

    where: str
    recorded: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.where}\n    recorded: {_shown(self.recorded)}\n    ours:     {_shown(self.ours)}"


def find_differences(recorded: Mapping[str, Any], observed: Mapping[str, Any]) -> list[Found]:
    """
    Compare two observations in their JSON form, as far as ``observed`` goes.

    A place is the name of a property (``left_in_queue``), a message that only one side published
    (``job_stopped 4``: its routing key, its job, ``#2`` for the second such message), or what differs in a message
    that both published (``job_error 3: parameters[0].value``).
    """
    found: list[Found] = []
    for name, value in observed.items():
        if name == "messages":
            found += _compare_messages(recorded[name], value)
        elif recorded[name] != value:
            found.append(Found(name, recorded[name], value))
    return found


def check(scenario: str, found: Sequence[Found], table: Iterable[Difference]) -> None:
    """
    Hold what was found against the table.

    Raises:
        AssertionError: Something found is not listed, or something listed was not found.
    """
    rows = [row for row in table if row.concerns(scenario)]
    unlisted = [str(one) for one in found if not any(row.explains(one) for row in rows)]
    idle = [
        f"{row.where}: {_shown(row.recorded)} -> {_shown(row.ours)} ({row.reason})"
        for row in rows
        if not any(row.explains(one) for one in found)
    ]
    assert not unlisted, f"{scenario}: these differences are not listed:\n  " + "\n  ".join(unlisted)
    assert not idle, f"{scenario}: these listed differences did not occur:\n  " + "\n  ".join(idle)


def _compare_messages(recorded: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]]) -> list[Found]:
    names_recorded, names_ours = _names(recorded), _names(ours)
    found: list[Found] = []
    matcher = difflib.SequenceMatcher(a=names_recorded, b=names_ours, autojunk=False)
    for tag, start, end, our_start, our_end in matcher.get_opcodes():
        if tag == "equal":
            for index, our_index in zip(range(start, end), range(our_start, our_end), strict=True):
                found += _compare_message(names_ours[our_index], recorded[index], ours[our_index])
        else:
            found += [Found(names_recorded[index], recorded[index]["body"], ABSENT) for index in range(start, end)]
            found += [Found(names_ours[index], ABSENT, ours[index]["body"]) for index in range(our_start, our_end)]
    return found


def _names(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    seen: Counter[str] = Counter()
    names = []
    for message in messages:
        job_id = message["body"].get("job_id") if isinstance(message["body"], dict) else None
        name = message["routing_key"] if job_id is None else f"{message['routing_key']} {job_id}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return names


def _compare_message(name: str, recorded: Mapping[str, Any], ours: Mapping[str, Any]) -> list[Found]:
    found = [] if recorded["exchange"] == ours["exchange"] else [Found(name, recorded["exchange"], ours["exchange"])]
    return found + [
        Found(f"{name}: {path}", one, other) for path, one, other in _compare("", recorded["body"], ours["body"])
    ]


def _compare(path: str, recorded: Any, ours: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(recorded, dict) and isinstance(ours, dict):
        found = []
        for key in sorted(recorded.keys() | ours.keys()):
            inner = f"{path}.{key}" if path else key
            found += _compare(inner, recorded.get(key, ABSENT), ours.get(key, ABSENT))
        return found
    if isinstance(recorded, list) and isinstance(ours, list) and len(recorded) == len(ours):
        pairs = enumerate(zip(recorded, ours, strict=True))
        return [one for index, (left, right) in pairs for one in _compare(f"{path}[{index}]", left, right)]
    # JSON's numbers: 3 and 3.0 are two forms of one value in Python, not to a consumer that is typed.
    same = type(recorded) is type(ours) and recorded == ours
    return [] if same else [(path, recorded, ours)]


def _agrees(expected: Any, actual: Any) -> bool:
    if isinstance(expected, dict) and isinstance(actual, dict):
        return all(key in actual and _agrees(value, actual[key]) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(
            _agrees(one, other) for one, other in zip(expected, actual, strict=True)
        )
    if isinstance(expected, Text):
        return expected == actual
    return type(expected) is type(actual) and bool(expected == actual)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
