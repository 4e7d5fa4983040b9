"""The published JSON Schema of a parameters class: pydantic's, in the form StepFlow knows from the reference."""

from __future__ import annotations

import base64
import inspect
import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticSerializationError, core_schema

__all__ = ["DIALECT", "Schema", "describe", "holds_secret", "make_schema", "schemas_at"]

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: Parameters StepFlow adds to an order by itself; every worker accepts them.
AUTOMATIC_PROPERTIES: Mapping[str, Schema] = {
    "requirements": {"type": "object"},
    "source_paths": {"type": "array", "items": {"type": "string"}},
}

#: What the reference publishes for a value of any type.
_ANY: tuple[Schema, ...] = tuple({"type": name} for name in ("null", "boolean", "number", "string", "array", "object"))

_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
_DOCUMENTED_PARAMETER = re.compile(r"^:param\s+(?:[^:]*\s)?(\w+)\s*:\s*")
_REFERENCE_PREFIX = "#/$defs/"


def make_schema(core: Any, *, wrapped: str | None, nullable_ids: frozenset[str]) -> Schema:
    """
    Make the published schema.

    Args:
        core: The core schema of the class that validates.
        wrapped: Property that holds the author's model, ``None`` when the class's own properties are the parameters.
        nullable_ids: Ids an order may leave out although pydantic wants a null there.

    Returns:
        The schema, with sorted ``required`` and without references but to recursive types.

    Raises:
        pydantic.PydanticUserError: A type has no JSON Schema.
    """
    raw = _Generator(by_alias=True).generate(core, mode="validation")
    tidier = _Tidier(raw.pop("$defs", {}))
    source = raw if wrapped is None else tidier.resolve(raw["properties"][wrapped])
    content = tidier.tidy(source | {"required": sorted(set(source.get("required", ())) - nullable_ids)})
    declared = content.pop("properties", {})
    schema = {"$schema": DIALECT, **content, "properties": {**AUTOMATIC_PROPERTIES, **declared}}
    if source.get("additionalProperties") is not True:
        schema["additionalProperties"] = False
    if tidier.kept:
        schema["$defs"] = tidier.kept
    return schema


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


class _Generator(GenerateJsonSchema):
    """pydantic's generator, without the titles it invents and with the words of docstrings instead."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic's own attribute

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        json_schema = super().bytes_schema(schema)
        if json_schema.get("format") == "base64url":
            del json_schema["format"]
            json_schema["contentEncoding"] = "base64"
        return json_schema

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        json_schema = _with_words(super().dataclass_schema(schema), schema["cls"])
        # Up to 2.12 pydantic refuses unknown keys of a nested dataclass without saying so here.
        if schema.get("config", {}).get("extra_fields_behavior") == "forbid" and "properties" in json_schema:
            json_schema["additionalProperties"] = False
        return json_schema

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return _with_words(super().model_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        cls = schema.get("cls")
        json_schema = super().typed_dict_schema(schema)
        return json_schema if cls is None else _with_words(json_schema, cls)

    def encode_default(self, dft: Any) -> Any:
        """The default as JSON; what JSON cannot carry (a NaN, an object) is left out of the schema."""
        if isinstance(dft, bytes):
            return base64.b64encode(dft).decode()
        try:
            encoded = super().encode_default(dft)
            json.dumps(encoded, allow_nan=False)
        except (TypeError, ValueError) as error:
            # pydantic leaves the default out of the schema then; it still holds for the jobs.
            raise PydanticSerializationError(str(error)) from error
        return encoded


def _with_words(json_schema: JsonSchemaValue, cls: type) -> JsonSchemaValue:
    if "$ref" in json_schema:
        return json_schema
    if json_schema.get("title") == cls.__name__:
        del json_schema["title"]
    text = cls.__dict__.get("__doc__")
    if not text or text.startswith(f"{cls.__name__}("):
        # The signature dataclasses write is not a description.
        return json_schema
    title, description, parameters = _read_docstring(text)
    json_schema.pop("description", None)
    words = {"title": title, "description": description}
    for name, words_of_parameter in parameters.items():
        json_schema.get("properties", {}).get(name, {}).setdefault("description", words_of_parameter)
    return {key: value for key, value in words.items() if value} | json_schema


def _read_docstring(text: str) -> tuple[str, str, dict[str, str]]:
    """Title (first paragraph), description, and the words of each ``:param name:``, as the reference reads them."""
    prose: list[str] = []
    parameters: dict[str, str] = {}
    current: str | None = None
    for line in inspect.cleandoc(text).splitlines():
        match = _DOCUMENTED_PARAMETER.match(line)
        if match:
            current = match.group(1)
            parameters[current] = line[match.end() :].strip()
        elif line.startswith(":"):
            current = ""
        elif current is None:
            prose.append(line)
        elif current and line.strip():
            parameters[current] = f"{parameters[current]} {line.strip()}".strip()
    title, _, description = "\n".join(prose).strip().partition("\n\n")
    return " ".join(title.split()), description.strip(), parameters


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
    """A property that may be left out says nothing about null: in an order, null means absent."""
    key = "oneOf" if "oneOf" in schema else "anyOf"
    branches = [branch for branch in schema.get(key, ()) if branch != {"type": "null"}]
    others = {name: value for name, value in schema.items() if name != key}
    if others.get("default", ...) is None:
        del others["default"]
    if len(branches) == 1:
        return {**branches[0], **others}
    return {**others, key: branches} if branches else others
