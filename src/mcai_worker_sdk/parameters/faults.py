"""What is wrong with the values of an order, in words that name every field and no secret."""

from __future__ import annotations

import functools
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import JsonValue
from pydantic_core import core_schema

from mcai_worker_sdk.parameters.schema import Schema, describe, holds_secret, schemas_at

__all__ = ["ABSENT_OR_UNKNOWN", "Fault", "Faults", "Path", "quote", "value_at"]

Path: TypeAlias = tuple[str | int, ...]
Fault: TypeAlias = Mapping[str, Any]

#: Faults that the schema's own words explain completely; for others pydantic's sentence is added.
_EXPLAINED = frozenset(
    {
        "bool_type",
        "bytes_invalid_encoding",
        "bytes_type",
        "dataclass_type",
        "date_type",
        "datetime_type",
        "dict_type",
        "enum",
        "float_type",
        "frozen_set_type",
        "greater_than",
        "greater_than_equal",
        "int_type",
        "less_than",
        "less_than_equal",
        "list_type",
        "literal_error",
        "model_type",
        "multiple_of",
        "none_required",
        "schema",
        "set_type",
        "string_pattern_mismatch",
        "string_too_long",
        "string_too_short",
        "string_type",
        "time_type",
        "too_long",
        "too_short",
        "tuple_type",
    }
)

_UNKNOWN_KEY = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_MISSING = frozenset({"missing", "missing_argument", "missing_keyword_only_argument"})
#: Faults of a place at which nothing lies, or nothing may lie.
ABSENT_OR_UNKNOWN = _UNKNOWN_KEY | _MISSING

_REFUSED_BY_VALIDATOR = frozenset({"value_error", "assertion_error"})


class Faults:
    """
    Words for the faults of one order.

    Args:
        schema: The published schema.
        values: The values as they were sent.
        secret_ids: Ids whose values came from a credential store.
    """

    def __init__(self, schema: Schema, values: Mapping[str, JsonValue], secret_ids: frozenset[str]) -> None:
        self._schema = schema
        self._values = values
        typed = {name for name, part in schema["properties"].items() if holds_secret(part)}
        self._secret_ids = frozenset(secret_ids) | typed

    def describe(self, faults: Sequence[Fault]) -> list[str]:
        """One sentence for each place that is wrong, in the order of the first fault found there."""
        places: dict[Path, list[Fault]] = {}
        for fault in faults:
            places.setdefault(_value_path(fault, self._values), []).append(fault)
        return [self._describe_place(path, found) for path, found in places.items()]

    @property
    def has_secrets(self) -> bool:
        """True when one of the order's values is secret."""
        return any(self._values.get(id_) is not None for id_ in self._secret_ids)

    def mask(self, text: str) -> str:
        """The text without any secret of this order in it."""
        secrets = {leaf for id_ in self._secret_ids for leaf in _leaves(self._values.get(id_))}
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _describe_place(self, path: Path, faults: Sequence[Fault]) -> str:
        first = faults[0]
        if not path:
            return f"The parameters are refused: {self.mask(_sentence(first))}."
        name = f"Parameter {_dotted(path)!r}"
        rule = self._rule(path)
        if first["type"] in _UNKNOWN_KEY:
            return f"{name} is unknown; {self._known_keys(path)}."
        if all(fault["type"] in _MISSING for fault in faults):
            return f"{name} is missing; expected {rule}."
        if path[0] in self._secret_ids:
            return f"{name} has a secret value that does not fit; expected {rule}."
        if _is_about_a_key(first):
            return f"{name} is {quote(value_at(self._values, path))}; expected {rule}."
        value = quote(first["input"])
        if _is_refusal(first):
            return f"{name} is {value}, which its validator refuses: {_sentence(first)}."
        explained = any(fault["type"] in _EXPLAINED for fault in faults)
        detail = "" if explained else f" ({'; '.join(dict.fromkeys(_sentence(fault) for fault in faults))})"
        return f"{name} is {value}; expected {rule}{detail}."

    def _rule(self, path: Path) -> str:
        found = schemas_at(self._schema, path)
        while not found and path:
            path = path[:-1]
            found = schemas_at(self._schema, path)
        return " or ".join(dict.fromkeys(describe(schema) for schema in found))

    def _known_keys(self, path: Path) -> str:
        keys = {key for schema in schemas_at(self._schema, path[:-1]) for key in schema.get("properties", ())}
        return f"expected one of {', '.join(sorted(keys))}" if keys else "expected no such key"


def value_at(values: Any, path: Path) -> Any:
    """What lies at a path of the values; ``None`` for a member that is missing."""
    for step in path:
        values = values.get(step) if isinstance(values, dict) else values[step]
    return values


def quote(value: object, limit: int = 80) -> str:
    """
    A value as JSON text, shortened.

    Args:
        value: Anything; what is not JSON is shown as Python writes it.
        limit: Most characters of the text.
    """
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = _represent(value)
    text = text.encode("utf-8", errors="backslashreplace").decode("utf-8")
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _represent(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - the author's __repr__ may raise anything
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"


def _value_path(fault: Fault, values: Mapping[str, JsonValue]) -> Path:
    """The fault's place in the values: pydantic's location without the names of union branches and validators."""
    path: list[str | int] = []
    current: Any = values
    location = fault["loc"]
    for position, step in enumerate(location):
        last = position == len(location) - 1
        if last and _is_about_a_key(fault):
            return tuple(path[:-1])
        if isinstance(current, dict | Mapping):
            if step in current:
                current = current[step]
            elif not (last and fault["type"] in _MISSING):
                continue
        elif isinstance(current, list) and isinstance(step, int) and step < len(current):
            current = current[step]
        else:
            continue
        path.append(step)
    return tuple(path)


def _is_about_a_key(fault: Fault) -> bool:
    """True when a key is at fault, and so the object that has it: what lies under the key may be fine."""
    return len(fault["loc"]) > 1 and fault["loc"][-1] == "[key]"


def _is_refusal(fault: Fault) -> bool:
    kind = fault["type"]
    return kind in _REFUSED_BY_VALIDATOR or (kind not in _EXPLAINED and kind not in _pydantic_fault_types())


@functools.cache
def _pydantic_fault_types() -> frozenset[str]:
    return frozenset(typing.get_args(core_schema.ErrorType))


def _sentence(fault: Fault) -> str:
    text: str = fault["msg"]
    for prefix in ("Value error, ", "Assertion failed, "):
        text = text.removeprefix(prefix)
    return text.rstrip(".") or "it says nothing more"


def _dotted(path: Path) -> str:
    text = str(path[0])
    for step in path[1:]:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text


def _leaves(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part)
    elif value is not None and value != "" and not isinstance(value, bool):
        yield str(value)
