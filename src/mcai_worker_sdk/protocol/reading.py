"""JSON as it comes from outside: strict, and with every number one that Python's ``float`` has room for."""

from __future__ import annotations

import math
import re
from typing import Final

from pydantic import JsonValue
from pydantic_core import from_json

__all__ = ["NumberRangeError", "read_json"]

#: Only text with an exponent of three digits, or with very many digits, can hold a number that is out of range.
_MAY_BE_OUT_OF_RANGE: Final = re.compile(rb"[eE]\+?0*[1-9][0-9]{2}|[0-9]{200}")


class NumberRangeError(ValueError):
    """
    Raised when a number is beyond the range of a ``float`` (``1e400``), and would be read as an infinity.

    Args:
        content: What was read, the number as an infinity in it.
        path: Where the number is: keys and positions.
    """

    def __init__(self, content: JsonValue, path: tuple[str | int, ...]) -> None:
        super().__init__(f"number out of range at {'.'.join(map(str, path)) or 'the top'}")
        self.content = content
        self.path = path


def read_json(text: bytes | str) -> JsonValue:
    """
    Read one JSON value, nested at most 200 deep. Of a key that occurs twice the last counts.

    Args:
        text: Strict JSON: no ``NaN``, no ``Infinity``; bytes are UTF-8.

    Raises:
        ValueError: It is not JSON; the text can quote what was read.
        NumberRangeError: It is, with a number that no ``float`` has room for.
    """
    content: JsonValue = from_json(text, allow_inf_nan=False)
    if _MAY_BE_OUT_OF_RANGE.search(text.encode() if isinstance(text, str) else text):
        path = _out_of_range(content)
        if path is not None:
            raise NumberRangeError(content, path)
    return content


def _out_of_range(value: JsonValue) -> tuple[str | int, ...] | None:
    if isinstance(value, float):
        return () if math.isinf(value) else None
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, part in parts:
        path = _out_of_range(part)
        if path is not None:
            return (step, *path)
    return None
