"""Parameters by hand: what ``-p name=value`` means for a worker, and an example for each of its parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from mcai_worker_sdk.errors import ParameterError

__all__ = ["AUTOMATIC", "example_of", "example_values", "read_values"]

Schema: TypeAlias = Mapping[str, Any]

#: Parameters that StepFlow adds by itself: an example says nothing of them unless the worker declares more of them.
AUTOMATIC = {"requirements": {"type": "object"}, "source_paths": {"type": "array", "items": {"type": "string"}}}
_OF_FORMAT = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00",
    "duration": "PT1M",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.org/",
    "email": "somebody@example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "binary": "AAAA",
    "base64": "AAAA",
}
_PATHS = {"source_path": "source.mp4", "destination_path": "results.json"}
_PLAIN_TEXT = "text"
#: How deep an example goes into types that hold themselves.
_DEEPEST = 4


def read_values(arguments: Sequence[str], schema: Schema) -> dict[str, Any]:
    """
    Read what stands behind each ``-p``.

    Args:
        arguments: ``name=value`` each.
        schema: The JSON Schema of the worker's parameters. A parameter that takes text gets the value as it stands;
            any other one gets what it says as JSON.

    Raises:
        ParameterError: One has no ``=``.
    """
    values = {}
    for argument in arguments:
        name, separator, text = argument.partition("=")
        if not separator or not name:
            raise ParameterError(f"The parameter {argument!r} has no value; expected NAME=VALUE, such as -p times=3.")
        values[name] = _value(text, _types(schema.get("properties", {}).get(name, {}), schema))
    return values


def _value(text: str, types: set[str]) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text  # The worker's own check names what it expected.
    fits = not types or _type_of(value) in types or (isinstance(value, int) and "number" in types)
    return value if fits or "string" not in types else text


def _types(schema: Schema, root: Schema) -> set[str]:
    """The JSON types that a value may have; empty for any."""
    schema = _resolved(schema, root)
    if "const" in schema:
        return {_type_of(schema["const"])}
    if "enum" in schema:
        return {_type_of(value) for value in schema["enum"]}
    branches = _branches(schema)
    if branches:
        return {name for branch in branches for name in _types(branch, root)}
    kind = schema.get("type")
    return {kind} if isinstance(kind, str) else set(kind or ())


def _type_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def example_values(schema: Schema) -> dict[str, Any]:
    """
    An example for each parameter that an order must have, and the default of each that has one.

    Args:
        schema: The JSON Schema of the worker's parameters.
    """
    required = set(schema.get("required", ()))
    return {
        name: example_of(rule, schema, name)
        for name, rule in schema.get("properties", {}).items()
        if name in required or ("default" in rule and rule != AUTOMATIC.get(name))
    }


def example_of(schema: Schema, root: Schema, name: str = "", depth: int = 0) -> Any:
    """A value that fits a schema, as far as its type and bounds say."""
    schema = _resolved(schema, root)
    for key in ("default", "const"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    branches = _branches(schema)
    if branches:
        return example_of(next((one for one in branches if one.get("type") != "null"), branches[0]), root, name, depth)
    match schema.get("type"):
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case "null":
            return None
        case "array":
            return _array(schema, root, depth)
        case "object":
            return _object(schema, root, depth)
    return _text(schema, name)


def _resolved(schema: Schema, root: Schema) -> Schema:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Schema = root.get("$defs", {}).get(reference.rpartition("/")[2], {})
    return found


def _branches(schema: Schema) -> Sequence[Schema]:
    branches: Sequence[Schema] = schema.get("oneOf") or schema.get("anyOf") or ()
    return branches


def _number(schema: Schema) -> float:
    step = schema.get("multipleOf", 1)
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is None and above is not None:
        low = above + step
        if below is not None and low >= below:
            low = (above + below) / 2
    if low is None:
        low = 1 if high is None and below is None else min(1, below - step if high is None else high)
    number: float = -(-low // step) * step if "multipleOf" in schema else low
    return number


def _array(schema: Schema, root: Schema, depth: int) -> list[Any]:
    parts = [example_of(part, root, depth=depth + 1) for part in schema.get("prefixItems", ())]
    wanted = max(schema.get("minItems", 0), 0 if depth > _DEEPEST else 1)
    wanted = min(wanted, schema.get("maxItems", wanted))
    item = schema.get("items")
    if not isinstance(item, Mapping):
        return parts
    choices = item.get("enum", ())
    while len(parts) < wanted:
        number = len(parts)
        parts.append(choices[number] if number < len(choices) else example_of(item, root, depth=depth + 1))
    return parts


def _object(schema: Schema, root: Schema, depth: int) -> dict[str, Any]:
    required = schema.get("required", ())
    return {
        name: example_of(rule, root, name, depth + 1)
        for name, rule in schema.get("properties", {}).items()
        if name in required
    }


def _text(schema: Schema, name: str) -> str:
    text: str = _OF_FORMAT.get(schema.get("format", ""), _PATHS.get(name, _PLAIN_TEXT))
    text = text.ljust(schema.get("minLength", 0), "x")
    return text[: schema.get("maxLength", len(text))]
