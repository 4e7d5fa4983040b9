"""
Holds the values of an order against the published schema, as the reference did.

pydantic reads the values; what it takes beyond the schema (``true`` for ``Literal[1]``, a list with duplicates for a
set) is refused here. Not looked at: what the author's own code decides, and the grammar of texts (``pattern``,
``format``, lengths), which pydantic has judged after the changes an author may ask for (``strip_whitespace``).
"""

from __future__ import annotations

import functools
import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import JsonValue

from mcai_worker_sdk.parameters.faults import Path
from mcai_worker_sdk.parameters.generator import FLOAT, INTEGER_KEY, NUMBER_KEY, OPEN
from mcai_worker_sdk.parameters.schema import NULLABLE, Schema

__all__ = ["Rule", "read_rule"]

_REFERENCE_PREFIX: Final = "#/$defs/"

#: Texts pydantic would read as seconds since 1970, although the schema promises ISO 8601.
_ONLY_A_NUMBER = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]*)?\s*")
_TEMPORAL_FORMATS = frozenset({"date-time", "date", "time", "duration"})

_BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "minimum": operator.ge,
    "exclusiveMinimum": operator.gt,
    "maximum": operator.le,
    "exclusiveMaximum": operator.lt,
}
_SIZES: Mapping[str, Callable[[Any, Any], bool]] = {
    "minItems": operator.ge,
    "minProperties": operator.ge,
    "maxItems": operator.le,
    "maxProperties": operator.le,
}


#: The least integer that pydantic 2.10 does not take for a float.
_FIRST_LARGE_INTEGER = 2**63

#: Which Python values JSON's types are read as.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}

#: Types of which every value fits a schema that says nothing but its type.
_SURE: Mapping[str | None, frozenset[type]] = {
    "boolean": frozenset({bool}),
    "integer": frozenset({int}),
    "null": frozenset({type(None)}),
    "number": frozenset({float}),
    "string": frozenset({str}),
}
_SAYS_NO_MORE = frozenset({"type", "title", "description", "default", "examples", FLOAT})


def read_rule(schema: Schema) -> Rule:
    """The rule that a whole schema states, its definitions included."""
    definitions: dict[str, Rule] = {}
    for name, part in schema.get("$defs", {}).items():
        definitions[name] = Rule(part, definitions)
    return Rule(schema, definitions)


class Rule:
    """
    What one schema asks of a value.

    Args:
        schema: A schema as ``make_schema`` makes it.
        definitions: What its references name; may be filled later.
    """

    def __init__(self, schema: Schema, definitions: Mapping[str, Rule]) -> None:
        self._definitions = definitions
        reference = schema.get("$ref")
        self._reference = None if reference is None else reference.removeprefix(_REFERENCE_PREFIX)
        self._is_open = OPEN in schema
        self._is_float = FLOAT in schema
        self._is_nullable = NULLABLE in schema
        self._type: str | None = schema.get("type")
        self._values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        self._branches = self._parts(schema.get("anyOf") or schema.get("oneOf") or ())
        self._takes_one_branch = "oneOf" in schema
        self._every = self._parts(schema.get("allOf", ()))
        self._not = self._part(schema, "not")
        self._is_temporal = schema.get("format") in _TEMPORAL_FORMATS
        self._key_pattern = schema["pattern"] if schema.get("pattern") in (INTEGER_KEY, NUMBER_KEY) else None
        self._bounds = [(holds, schema[word]) for word, holds in _BOUNDS.items() if word in schema]
        self._sizes = [(holds, schema[word]) for word, holds in _SIZES.items() if word in schema]
        self._is_set = schema.get("uniqueItems", False)
        self._first_items = self._parts(schema.get("prefixItems", ()))
        self._items = self._part(schema, "items")
        self._properties = {name: Rule(part, definitions) for name, part in schema.get("properties", {}).items()}
        self._required = frozenset(schema.get("required", ()))
        self._refuses_others = schema.get("additionalProperties") is False
        self._others = self._part(schema, "additionalProperties")
        self._names = self._part(schema, "propertyNames")
        #: Python types of which every value fits.
        self._sure = _SURE.get(self._type, frozenset()) if set(schema) <= _SAYS_NO_MORE else frozenset()

    def plain(self, value: JsonValue) -> JsonValue:
        """
        The value as the schema means it, in new containers: a whole number is an integer however it is written
        (``1.0``), and a member that may be absent and is no ``None`` is absent when it is null.
        """
        if self is _ANYTHING:
            return value
        if isinstance(value, float):
            is_integer = self._integers and value.is_integer() and not any(leaf.fits(value) for leaf in self._numbers)
            return int(value) if is_integer else value
        if isinstance(value, list):
            leaves = [leaf for leaf in self._leaves if leaf._type in (None, "array")]
            shared = None if any(leaf._first_items for leaf in leaves) else _any_of(leaf._items for leaf in leaves)
            return [
                (shared or _any_of(leaf._item(index) for leaf in leaves)).plain(item)
                for index, item in enumerate(value)
            ]
        if isinstance(value, dict):
            return self.plain_members(value)
        if isinstance(value, int) and abs(value) >= _FIRST_LARGE_INTEGER and self._are_floats:
            number = _as_float(value)
            return value if math.isinf(number) else number
        return value

    def plain_members(self, value: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """The same for an object."""
        leaves = [leaf for leaf in self._leaves if leaf._type in (None, "object")]
        plain: dict[str, JsonValue] = {}
        for name, member in value.items():
            declared = [leaf for leaf in leaves if name in leaf._properties]
            if member is not None or not any(leaf._may_lack(name) for leaf in declared):
                plain[name] = _any_of(leaf._member(name) for leaf in declared or leaves).plain(member)
        return plain

    def fits(self, value: JsonValue) -> bool:
        """True when the value is what the schema asks for."""
        return next(self.misfits(value, ()), None) is None

    def misfits(self, value: JsonValue, path: Path) -> Iterator[Path]:
        """
        The places that do not fit, each where it can be named best.

        Args:
            value: As :meth:`plain` gives it.
            path: Where it lies in the order's values.
        """
        if self._is_open or (value is None and self._is_nullable):
            return
        if self._reference is not None:
            yield from self._definitions[self._reference].misfits(value, path)
        elif self._branches:
            yield from self._misfits_of_branches(value, path)
        elif not self._is_of_type(value) or not self._is_of_values(value) or not self._is_within(value):
            yield path
        elif isinstance(value, list):
            for index, item in enumerate(value if self._items or self._first_items else ()):
                rule = self._item(index)
                if type(item) not in rule._sure:
                    yield from rule.misfits(item, (*path, index))
        elif isinstance(value, dict):
            yield from self._misfits_of_members(value, path)
        if not all(rule.fits(value) for rule in self._every) or (self._not is not None and self._not.fits(value)):
            yield path

    def _misfits_of_branches(self, value: JsonValue, path: Path) -> Iterator[Path]:
        fitting = [branch for branch in self._branches if branch.fits(value)]
        if len(fitting) == 1 or (fitting and not self._takes_one_branch) or any(b._is_open for b in fitting):
            return
        nearest = [branch for branch in self._branches if branch._reference or branch._is_of_type(value)]
        yield from nearest[0].misfits(value, path) if not fitting and len(nearest) == 1 else (path,)

    def _misfits_of_members(self, value: dict[str, JsonValue], path: Path) -> Iterator[Path]:
        if self._names is not None and not all(map(self._names.fits, value)):
            yield path
            return
        yield from ((*path, name) for name in sorted(self._required - set(value)))
        for name, member in value.items():
            rule = self._member(name)
            if self._refuses_others and name not in self._properties:
                yield (*path, name)
            elif type(member) not in rule._sure:
                yield from rule.misfits(member, (*path, name))

    def _is_of_type(self, value: JsonValue) -> bool:
        if self._type is None:
            return True
        if isinstance(value, bool):
            return self._type == "boolean"
        return isinstance(value, _TYPES[self._type])

    def _is_of_values(self, value: JsonValue) -> bool:
        if self._values is not None:
            return any(_are_equal(value, allowed) for allowed in self._values)
        if isinstance(value, str):
            is_number = self._is_temporal and _ONLY_A_NUMBER.fullmatch(value)
            return not is_number and (self._key_pattern is None or re.search(self._key_pattern, value) is not None)
        return True

    def _is_within(self, value: JsonValue) -> bool:
        if isinstance(value, int | float):
            if self._is_float and math.isinf(_as_float(value)):
                return False
            return all(holds(value, bound) for holds, bound in self._bounds)
        if isinstance(value, list | dict):
            has_twins = self._is_set and isinstance(value, list) and _has_twins(value)
            return not has_twins and all(holds(len(value), size) for holds, size in self._sizes)
        return True

    @functools.cached_property
    def _leaves(self) -> list[Rule]:
        """The rules without alternatives of which this one is made."""
        if self._reference is not None:
            return self._definitions[self._reference]._leaves
        return [leaf for branch in self._branches for leaf in branch._leaves] if self._branches else [self]

    @functools.cached_property
    def _integers(self) -> list[Rule]:
        """The leaves for which a whole number is an integer."""
        return [leaf for leaf in self._leaves if leaf._type == "integer" or _is_any(int, leaf._values)]

    @functools.cached_property
    def _numbers(self) -> list[Rule]:
        """The leaves for which it is just a number."""
        return [
            leaf
            for leaf in self._leaves
            if (leaf._type in (None, "number") and leaf._values is None) or _is_any(float, leaf._values)
        ]

    @functools.cached_property
    def _are_floats(self) -> bool:
        """Whether every number that is not listed becomes a float."""
        numbers = [leaf for leaf in (*self._integers, *self._numbers) if leaf._values is None]
        return bool(numbers) and all(leaf._is_float for leaf in numbers)

    def _item(self, index: int) -> Rule:
        return self._first_items[index] if index < len(self._first_items) else self._items or _ANYTHING

    def _member(self, name: str) -> Rule:
        return self._properties.get(name) or self._others or _ANYTHING

    def _may_lack(self, name: str) -> bool:
        return not self._is_open and name not in self._required and not self._properties[name].fits(None)

    def _part(self, schema: Schema, word: str) -> Rule | None:
        part = schema.get(word)
        return Rule(part, self._definitions) if isinstance(part, dict) else None

    def _parts(self, schemas: Iterable[Schema]) -> list[Rule]:
        return [Rule(schema, self._definitions) for schema in schemas]


_ANYTHING: Final = Rule({}, {})


def _any_of(rules: Iterable[Rule | None]) -> Rule:
    found = [rule or _ANYTHING for rule in rules]
    if len(found) == 1:
        return found[0]
    union = Rule({}, {})
    union._branches = found
    return union


def _is_any(kind: type, values: Iterable[JsonValue] | None) -> bool:
    return any(type(value) is kind for value in values or ())


def _as_float(value: float) -> float:
    """The value as a float; an infinity where none has room for it."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _are_equal(one: Any, other: Any) -> bool:
    """Equality of JSON values: ``true`` is not ``1``, ``1.0`` is."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _has_twins(items: list[JsonValue]) -> bool:
    return len(items) != len({_identity(item) for item in items})


def _identity(value: JsonValue) -> str:
    """Text that is the same for equal JSON values alone."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        return f"[{','.join(map(_identity, value))}]"
    if isinstance(value, dict):
        members = sorted((json.dumps(name), _identity(member)) for name, member in value.items())
        return f"{{{','.join(f'{name}:{text}' for name, text in members)}}}"
    return json.dumps(value)
