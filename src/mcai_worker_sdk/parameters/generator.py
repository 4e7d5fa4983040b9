"""pydantic's JSON Schema, brought to say all that is taken of an order, no less and no more."""

from __future__ import annotations

import base64
import enum
import functools
import inspect
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticSerializationError, core_schema

__all__ = ["FLOAT", "INTEGER_KEY", "NUMBER_KEY", "OPEN", "allows_conversion", "generate", "ids_of_fields"]

#: Marks a schema of which the author's code decides what is taken: a validator that runs before the type is checked, or
#: conversions that are allowed. Never published.
OPEN: Final = "\0open"

#: Marks a schema of which Python's ``float`` is made: it has no room for every number. Never published.
FLOAT: Final = "\0float"

#: What a key of an object is when it stands for a number: the text that JSON itself has for one.
INTEGER_KEY: Final = r"^(0|-?[1-9][0-9]*)$"
NUMBER_KEY: Final = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"

_DOCUMENTED_PARAMETER = re.compile(r"^:param\s+(?:[^:]*\s)?(\w+)\s*:\s*")

_SCALARS = tuple({"type": name} for name in ("null", "boolean", "number", "string"))

#: What the schema of a key says beside its type.
_KEY_WORDS = ("enum", "const", "format", "pattern", "minLength", "maxLength", "contentEncoding")

#: Core schemas whose Python values cannot be members of a set.
_UNHASHABLE = frozenset({"list", "dict", "set", "typed-dict", "generator"})

_CONTAINERS = frozenset({"dict", "list", "tuple", "set", "frozenset", "deque", "ordered-dict", "counter", "frozendict"})

#: Most bits of a flag whose values are listed one by one.
_MOST_LISTED_BITS = 8


def generate(core: Any) -> JsonSchemaValue:
    """
    The JSON Schema of a core schema, with pydantic's definitions and references.

    Raises:
        pydantic.PydanticUserError: A type has no JSON Schema.
    """
    return _Generator(by_alias=True).generate(core, mode="validation")


def allows_conversion(core: Any) -> bool:
    """True when ``strict=False`` is written somewhere in a core schema (``Field(strict=False)``, a model's config)."""
    if isinstance(core, dict):
        return _converts(core) or any(allows_conversion(part) for part in core.values())
    return isinstance(core, list | tuple) and any(allows_conversion(part) for part in core)


def ids_of_fields(core: Any, wrapped: str | None) -> dict[str, str]:
    """
    The id under which each field of the parameters class is published, by its name in the class.

    Args:
        core: The core schema of the class that validates.
        wrapped: The field that holds the author's object, ``None`` when the class's own fields are the parameters.
    """
    definitions = {definition["ref"]: definition for definition in core.get("definitions", ())}
    owner = _class_in(core, definitions)
    if wrapped is not None:
        owner = _class_in(dict(_fields_of(owner))[wrapped]["schema"], definitions)
    config = owner.get("config", {})
    return {name: (_spellings(name, field, config) or [name])[0] for name, field in _fields_of(owner)}


class _Generator(GenerateJsonSchema):
    """
    pydantic's generator, without the titles it invents and with the words of docstrings instead.

    Where pydantic's schema allows what its validation refuses, or keeps silent about what it takes, this one is exact;
    a type of which no value can ever be given is refused.
    """

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic's own attribute

    def generate(self, schema: Any, mode: Any = "validation") -> JsonSchemaValue:
        """Generate, with the definitions at hand: what may be a key or a member of a set, the core schema says."""
        self._core_definitions = {definition["ref"]: definition for definition in schema.get("definitions", ())}
        return super().generate(schema, mode)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        json_schema = super().generate_inner(schema)
        if _converts(schema) or _is_code(schema.get("missing")):
            return {**json_schema, OPEN: True}
        return json_schema

    # Values

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        json_schema = super().bytes_schema(schema)
        if json_schema.get("format") == "base64url":
            del json_schema["format"]
            json_schema["contentEncoding"] = "base64"
        return json_schema

    def complex_schema(self, schema: core_schema.ComplexSchema) -> JsonSchemaValue:
        return super().complex_schema(schema) | {"format": "complex"}

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return super().float_schema(schema) | {FLOAT: True}

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        number, text = super().decimal_schema(schema)["anyOf"]
        del number[FLOAT]
        return {"anyOf": [number, text | {"format": "decimal"}]}

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """The members that JSON can carry; of a flag, all their combinations."""
        json_schema = super().enum_schema(schema)
        if issubclass(schema["cls"], enum.Flag):
            del json_schema["enum"]
            return json_schema | _flag_values(schema["cls"])
        values = [member.value for member in schema["members"]]
        kept = [value for value in values if value is None or isinstance(value, bool | int | float | str)]
        if not kept:
            self.handle_invalid_for_json_schema(
                schema, f"{schema['cls'].__name__}, no member of which is a JSON scalar"
            )
        return json_schema | {"enum": kept}

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        if any(isinstance(value, bytes) for value in schema["expected"]):
            return self.handle_invalid_for_json_schema(schema, "a Literal of bytes, which no JSON text equals")
        return super().literal_schema(schema)

    def is_subclass_schema(self, schema: core_schema.IsSubclassSchema) -> JsonSchemaValue:
        return self.handle_invalid_for_json_schema(schema, "a class, which JSON cannot carry")

    def generator_schema(self, schema: core_schema.GeneratorSchema) -> JsonSchemaValue:
        return self.handle_invalid_for_json_schema(schema, "an Iterable inside another type; write list")

    # Containers

    def set_schema(self, schema: core_schema.SetSchema) -> JsonSchemaValue:
        return self._of_hashable_items(super().set_schema(schema), schema)

    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> JsonSchemaValue:
        return self._of_hashable_items(super().frozenset_schema(schema), schema)

    def _of_hashable_items(self, json_schema: JsonSchemaValue, schema: Any) -> JsonSchemaValue:
        items = schema.get("items_schema", {"type": "any"})
        if not self._is_hashable(items):
            return self.handle_invalid_for_json_schema(schema, "a set of what cannot be hashed")
        if items["type"] == "any":
            return json_schema | {"items": {"anyOf": [dict(choice) for choice in _SCALARS]}}
        return json_schema

    def _is_hashable(self, schema: Any) -> bool:
        kind = schema["type"]
        if kind in ("model", "dataclass"):
            return schema["cls"].__hash__ is not None
        if kind == "union":
            return all(self._is_hashable(part[0] if isinstance(part, tuple) else part) for part in schema["choices"])
        if kind == "tuple":
            return all(map(self._is_hashable, schema["items_schema"]))
        if kind == "definition-ref":
            definition = self._core_definitions[schema["schema_ref"]]
            # What holds itself does so by a container.
            return definition["type"] in ("enum", "model", "dataclass") and self._is_hashable(definition)
        return kind not in _UNHASHABLE and ("schema" not in schema or self._is_hashable(schema["schema"]))

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        return self._with_key_names(super().dict_schema(schema), schema)

    # pydantic 2.14 has core schemas of their own for these; before, they are dicts with a function around them.

    def ordered_dict_schema(self, schema: Any) -> JsonSchemaValue:
        return self._with_key_names(super().ordered_dict_schema(schema), schema)

    def counter_schema(self, schema: Any) -> JsonSchemaValue:
        return self._with_key_names(super().counter_schema(schema), schema)

    def frozendict_schema(self, schema: Any) -> JsonSchemaValue:
        return self._with_key_names(super().frozendict_schema(schema), schema)

    def _with_key_names(self, json_schema: JsonSchemaValue, schema: Any) -> JsonSchemaValue:
        values = {key: part for key, part in json_schema.items() if key not in ("patternProperties", "propertyNames")}
        for part in json_schema.get("patternProperties", {}).values():
            values["additionalProperties"] = part
        names = self._key_names(schema.get("keys_schema", {"type": "any"}))
        return values | {"propertyNames": names} if names else values

    def _key_names(self, keys: Any) -> JsonSchemaValue:
        """What a key may be: JSON has nothing but text there. Empty when any text will do."""
        match keys["type"]:
            case "any":
                return {}
            case "int":
                return {"pattern": INTEGER_KEY}
            case "float":
                return {"pattern": NUMBER_KEY}
            case "bool":
                return {"enum": ["true", "false"]}
            case "enum":
                values = [member.value for member in keys["members"]]
                return {"enum": [str(value) for value in values if isinstance(value, str | int)]}
            case "literal":
                return {"enum": [value for value in keys["expected"] if isinstance(value, str)]}
            case "nullable":
                return self._key_names(keys["schema"])
            case "definition-ref":
                return self._key_names(self._core_definitions[keys["schema_ref"]])
            case "union":
                names = [
                    self._key_names(choice[0] if isinstance(choice, tuple) else choice) for choice in keys["choices"]
                ]
                return {"anyOf": names} if all(names) else {}
        json_schema = self.generate_inner(keys)
        branches = json_schema.get("anyOf", [json_schema])
        if not any(branch.get("type") == "string" for branch in branches):
            return self.handle_invalid_for_json_schema(keys, "a dict whose keys are no text")
        return {word: json_schema[word] for word in _KEY_WORDS if word in json_schema}

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        json_schema = super().tagged_union_schema(schema)
        if callable(schema["discriminator"]):
            # The author's function decides between branches that may fit both.
            json_schema[OPEN] = True
        return json_schema

    # Classes

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        return self._exactly(_with_words(super().dataclass_schema(schema), schema["cls"]), schema)

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return self._exactly(_with_words(super().model_schema(schema), schema["cls"]), schema)

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        cls = schema.get("cls")
        json_schema = super().typed_dict_schema(schema)
        return self._exactly(json_schema if cls is None else _with_words(json_schema, cls), schema)

    def _exactly(self, json_schema: JsonSchemaValue, schema: Any) -> JsonSchemaValue:
        """Every name under which a field may be given, and no field that cannot be given at all."""
        config = schema.get("config", {})
        if config.get("strict") is False:
            json_schema = {**json_schema, OPEN: True}
        properties = json_schema.get("properties")
        if properties is None:
            return json_schema
        # Up to 2.12 pydantic refuses unknown keys of nested dataclasses and typed dicts without saying so.
        if schema.get("extra_behavior", config.get("extra_fields_behavior")) == "forbid":
            json_schema["additionalProperties"] = False
        for name, field in _fields_of(schema):
            if field.get("init") is False:
                properties.pop(name, None)
                continue
            spellings = _spellings(name, field, config)
            if spellings is None:
                self.handle_invalid_for_json_schema(field, f"the alias of {name}, which points into a value")
            elif len(spellings) > 1:
                _publish_spellings(json_schema, spellings)
        return json_schema

    # The author's code

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        return _opened(super().function_before_schema(schema), schema)

    def function_wrap_schema(self, schema: core_schema.WrapValidatorFunctionSchema) -> JsonSchemaValue:
        return _opened(super().function_wrap_schema(schema), schema)

    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:
        return _opened(super().function_plain_schema(schema), schema)

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

    def handle_invalid_for_json_schema(self, _schema: Any, error_info: str) -> JsonSchemaValue:
        raise PydanticInvalidForJsonSchema(f"There is no JSON Schema for {error_info}.")


def _is_code(function: Any) -> bool:
    """True for a function of an author's; pydantic's own and the standard library's enum are none."""
    while isinstance(function, functools.partial):
        function = function.func
    module = getattr(function, "__module__", None) or ""
    return function is not None and module.partition(".")[0] not in ("pydantic", "enum")


def _converts(schema: Any) -> bool:
    """True for what an author may read from other types; pydantic says it of containers by itself, which JSON has one
    kind of."""
    return schema.get("strict") is False and schema.get("type") not in _CONTAINERS


def _opened(json_schema: JsonSchemaValue, schema: Any) -> JsonSchemaValue:
    is_told = "json_schema_input_schema" in schema
    return json_schema if is_told or not _is_code(schema["function"]["function"]) else {**json_schema, OPEN: True}


def _flag_values(flag: type[enum.Flag]) -> JsonSchemaValue:
    """Any combination of the members: a range where they are the lowest bits, else each."""
    bits = [member.value for member in flag]
    mask = sum(bits)
    if mask == (1 << len(bits)) - 1:
        return {"type": "integer", "minimum": 0, "maximum": mask}
    if len(bits) > _MOST_LISTED_BITS:
        raise PydanticInvalidForJsonSchema(f"{flag.__name__}, whose bits are neither few nor the lowest")
    chosen = itertools.product((False, True), repeat=len(bits))
    return {"type": "integer", "enum": sorted(sum(itertools.compress(bits, choice)) for choice in chosen)}


def _class_in(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The core schema of the class, without the validators around it."""
    while schema["type"] not in ("model", "dataclass"):
        schema = definitions[schema["schema_ref"]] if schema["type"] == "definition-ref" else schema["schema"]
    return schema


def _fields_of(schema: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a class's core schema, by their names in the class."""
    while "fields" not in schema or schema["type"] in ("model", "dataclass"):
        if "schema" not in schema:
            return
        schema = schema["schema"]
    fields = schema["fields"]
    if isinstance(fields, Mapping):
        yield from fields.items()
    else:
        yield from ((field["name"], field) for field in fields)


def _spellings(name: str, field: Any, config: Any) -> list[str] | None:
    """The keys under which a field is found, the published one first; ``None`` where a key is a path into a value."""
    alias = field.get("validation_alias")
    found: list[str] = []
    if alias is not None and config.get("validate_by_alias") is not False:
        paths = [[alias]] if isinstance(alias, str) else alias if isinstance(alias[0], list) else [alias]
        if any(len(path) > 1 for path in paths):
            return None
        found = [path[0] for path in paths]
    if not found or config.get("populate_by_name") or config.get("validate_by_name"):
        found.append(name)
    return list(dict.fromkeys(found))


def _publish_spellings(json_schema: JsonSchemaValue, spellings: Sequence[str]) -> None:
    """Let a field be given under one of its names, and not under two: pydantic would take one and drop the other."""
    properties, required = json_schema["properties"], json_schema.get("required", [])
    shown = spellings[0]
    for other in spellings[1:]:
        properties.setdefault(other, properties[shown])
    rules: list[JsonSchemaValue] = [{"required": [spelling]} for spelling in spellings]
    if shown in required:
        required.remove(shown)
    else:
        rules.append({"not": {"anyOf": [dict(rule) for rule in rules]}})
    json_schema.setdefault("allOf", []).append({"oneOf": rules})


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
