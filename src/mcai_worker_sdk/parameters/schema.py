"""The published JSON Schema of a parameters class: pydantic's, in the form StepFlow knows from the reference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from mcai_worker_sdk.parameters.generator import FLOAT, INTEGER_KEY, NUMBER_KEY, OPEN, generate

__all__ = ["DIALECT", "NULLABLE", "Schema", "describe", "holds_secret", "make_schema", "published", "schemas_at"]

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: Parameters StepFlow adds to an order by itself; every worker accepts them.
AUTOMATIC_PROPERTIES: Mapping[str, Schema] = {
    "requirements": {"type": "object"},
    "source_paths": {"type": "array", "items": {"type": "string"}},
}

#: What the reference publishes for a value of any type.
_ANY: tuple[Schema, ...] = tuple({"type": name} for name in ("null", "boolean", "number", "string", "array", "object"))

#: Marks a property that may be absent and may be null: see ``_without_null``. Never published.
NULLABLE: Final = "\0nullable"

_MARKS = frozenset({FLOAT, NULLABLE, OPEN})
_ANNOTATIONS = _MARKS | {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
_REFERENCE_PREFIX = "#/$defs/"


def make_schema(
    core: Any, *, wrapped: str | None, nullable_ids: frozenset[str], takes_any_id: bool
) -> tuple[Schema, frozenset[str]]:
    """
    Make the published schema.

    Args:
        core: The core schema of the class that validates.
        wrapped: Property that holds the author's model, ``None`` when the class's own properties are the parameters.
        nullable_ids: Ids an order may leave out although pydantic wants a null there.
        takes_any_id: An order may bring ids that the class does not name.

    Returns:
        The schema, with sorted ``required`` and without references but to recursive types; some of its parts are still
        marked for ``conformance``, see :func:`published`. And the ids among its properties that the class does not
        declare itself.

    Raises:
        pydantic.PydanticUserError: A type has no JSON Schema.
    """
    raw = generate(core)
    tidier = _Tidier(raw.pop("$defs", {}))
    source = raw if wrapped is None else tidier.resolve(raw["properties"][wrapped])
    content = tidier.tidy(source | {"required": sorted(set(source.get("required", ())) - nullable_ids)})
    declared = content.pop("properties", {})
    schema = {"$schema": DIALECT, **content, "properties": {**AUTOMATIC_PROPERTIES, **declared}}
    if not takes_any_id:
        schema["additionalProperties"] = False
    if tidier.kept:
        schema["$defs"] = tidier.kept
    return schema, frozenset(AUTOMATIC_PROPERTIES) - set(declared)


def published(schema: Any) -> Any:
    """The schema without the marks that are for the SDK alone."""
    if isinstance(schema, dict):
        return {key: published(part) for key, part in schema.items() if key not in _MARKS}
    return [published(part) for part in schema] if isinstance(schema, list) else schema


def holds_secret(schema: Any) -> bool:
    """True when a value of this schema may hold a ``SecretStr`` at any depth."""
    if isinstance(schema, dict):
        return schema.get("writeOnly") is True or any(holds_secret(part) for part in schema.values())
    return isinstance(schema, list) and any(holds_secret(part) for part in schema)


def schemas_at(schema: Schema, path: tuple[str | int, ...]) -> list[Schema]:
    """The schemas that a value at ``path`` may follow; several when a union lies on the way, none when unknown."""
    definitions = schema.get("$defs", {})
    found = [schema]
    for step in path:
        found = [part for branch in found for choice in _choices(branch, definitions) for part in _step(choice, step)]
    return found


def describe(schema: Schema) -> str:
    """A schema in the words of an error message: "an integer >= 1", 'one of "a", "b"'."""
    if "enum" in schema:
        return "one of " + ", ".join(_quote(value) for value in schema["enum"])
    if "const" in schema:
        return _quote(schema["const"])
    branches = schema.get("oneOf") or schema.get("anyOf")
    if branches:
        if tuple(branches) == _ANY:
            return "any JSON value"
        return " or ".join(dict.fromkeys(describe(branch) for branch in branches))
    word = _NOUNS.get(schema.get("type", ""), "another value")
    if schema.get("type") == "string":
        word = _describe_string(schema)
    if "propertyNames" in schema:
        word += _describe_keys(schema["propertyNames"])
    return word + _describe_bounds(schema)


_NOUNS = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}

_FORMATS = {
    "date": "a date (ISO 8601)",
    "date-time": "a date and time (ISO 8601)",
    "duration": "a duration (ISO 8601)",
    "password": "a string",
    "time": "a time of day (ISO 8601)",
}

_BOUNDS = {
    "minimum": " >= {}",
    "exclusiveMinimum": " > {}",
    "maximum": " <= {}",
    "exclusiveMaximum": " < {}",
    "multipleOf": " that is a multiple of {}",
    "minLength": " of at least {} characters",
    "maxLength": " of at most {} characters",
    "pattern": " that matches {!r}",
    "minItems": " of at least {} items",
    "maxItems": " of at most {} items",
    "uniqueItems": " without duplicates",
    "minProperties": " of at least {} entries",
    "maxProperties": " of at most {} entries",
}


def _describe_string(schema: Schema) -> str:
    if schema.get("contentEncoding") == "base64":
        return "base64 text"
    name = schema.get("format")
    return _FORMATS.get(name, f"a string ({name})") if name else "a string"


def _describe_keys(names: Schema) -> str:
    if "enum" in names:
        return f" with keys among {', '.join(map(_quote, names['enum']))}"
    if names.get("pattern") in (INTEGER_KEY, NUMBER_KEY):
        return f" whose keys are {'integers' if names['pattern'] == INTEGER_KEY else 'numbers'}"
    return f" whose keys are {describe({'type': 'string', **names})}"


def _describe_bounds(schema: Schema) -> str:
    return " and".join(text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema)


def _quote(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _choices(schema: Schema, definitions: Schema) -> list[Schema]:
    if "$ref" in schema:
        schema = definitions.get(schema["$ref"].removeprefix(_REFERENCE_PREFIX), {})
    branches = schema.get("oneOf") or schema.get("anyOf")
    if not branches:
        return [schema]
    return [choice for branch in branches for choice in _choices(branch, definitions)]


def _step(schema: Schema, step: str | int) -> list[Schema]:
    if isinstance(step, int):
        prefix = schema.get("prefixItems", [])
        part = prefix[step] if step < len(prefix) else schema.get("items")
    else:
        part = schema.get("properties", {}).get(step, schema.get("additionalProperties"))
    return [part] if isinstance(part, dict) else []


class _Tidier:
    """Writes references out and brings unions, nulls and "any" into the published form."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._open: list[str] = []
        self.kept: dict[str, Schema] = {}
        """Definitions that stay, because they contain themselves."""

    def resolve(self, schema: Schema) -> Schema:
        """Follow the reference of a schema, if it is one."""
        name = _referred(schema)
        return schema if name is None else self._definitions[name]

    def tidy(self, schema: Schema) -> Schema:
        """Bring a schema and all its parts into the published form."""
        name = _referred(schema)
        if name is not None:
            return self._tidy_reference(name, schema)
        tidied = {key: self._tidy_part(key, value) for key, value in schema.items() if key != "discriminator"}
        if "enum" in tidied:
            # pydantic writes the class's name there; the reference does not.
            tidied.pop("title", None)
        if tidied.get("additionalProperties") in (True, {}):
            del tidied["additionalProperties"]
        if tidied.get("items") == {}:
            del tidied["items"]
        if "required" in tidied:
            tidied["required"] = sorted(tidied["required"])
            if not tidied["required"]:
                del tidied["required"]
        if "properties" in tidied:
            self._tidy_properties(tidied)
        return _tidy_union(tidied)

    def _tidy_part(self, key: str, value: Any) -> Any:
        if key in ("properties", "patternProperties"):
            return {name: self.tidy(part) for name, part in value.items()}
        if key in ("items", "additionalProperties", "propertyNames", "contains", "not") and isinstance(value, dict):
            return self.tidy(value)
        if key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            return [self.tidy(part) for part in value]
        return value

    def _tidy_reference(self, name: str, schema: Schema) -> Schema:
        annotations = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        reference = {"$ref": _REFERENCE_PREFIX + name, **annotations}
        if name in self._open:
            self.kept.setdefault(name, {})
            return reference
        self._open.append(name)
        tidied = self.tidy(self._definitions[name])
        self._open.pop()
        if name in self.kept:
            self.kept[name] = tidied
            return reference
        return {**tidied, **annotations}

    def _tidy_properties(self, schema: Schema) -> None:
        required = schema.get("required", ())
        for name, declared in schema["properties"].items():
            published = dict(declared) if name in required else _without_null(declared)
            if published.get("writeOnly"):
                published.pop("default", None)
            if set(published) <= _ANNOTATIONS:
                published["oneOf"] = [dict(choice) for choice in _ANY]
            schema["properties"][name] = published


def _referred(schema: Schema) -> str | None:
    whole = schema.get("allOf")
    reference = schema.get("$ref") or (whole[0].get("$ref") if whole and len(whole) == 1 else None)
    return reference.removeprefix(_REFERENCE_PREFIX) if isinstance(reference, str) else None


def _tidy_union(schema: Schema) -> Schema:
    branches = schema.get("anyOf")
    if not branches:
        return schema
    if {} in branches:
        return {key: value for key, value in schema.items() if key != "anyOf"}
    types = [branch.get("type") for branch in branches]
    apart = all(isinstance(name, str) for name in types) and len(set(types)) == len(types)
    if apart and not {"integer", "number"} <= set(types):
        # The reference's word; equal in meaning only when no value can fit two branches.
        return {("oneOf" if key == "anyOf" else key): value for key, value in schema.items()}
    return schema


def _without_null(schema: Schema) -> Schema:
    """A property that may be left out says nothing about null, as in the reference's schema."""
    key = "oneOf" if "oneOf" in schema else "anyOf"
    branches = [branch for branch in schema.get(key, ()) if branch != {"type": "null"}]
    others = {name: value for name, value in schema.items() if name != key}
    if len(branches) < len(schema.get(key, ())):
        others[NULLABLE] = True
    if others.get("default", ...) is None:
        del others["default"]
    if len(branches) == 1:
        return {**branches[0], **others}
    return {**others, key: branches} if branches else others
