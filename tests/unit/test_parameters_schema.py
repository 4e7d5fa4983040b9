"""The published JSON Schema: the form StepFlow knows, and the truth about what is accepted."""

# ruff: noqa: UP006, UP007, UP035, UP045, RUF012 - authors write these spellings, so they are tested as they write them

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, List, Literal, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr

from mcai_worker_sdk.errors import ParameterError
from mcai_worker_sdk.parameters import ParametersModel, WorkerParameters

AUTOMATIC = {
    "requirements": {"type": "object"},
    "source_paths": {"type": "array", "items": {"type": "string"}},
}
ANY = {"oneOf": [{"type": name} for name in ("null", "boolean", "number", "string", "array", "object")]}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Point:
    """A point."""

    x: int
    y: float
    label: Optional[str] = None


class Node(BaseModel):
    value: int
    children: list[Node] = []


POINT = {
    "title": "A point.",
    "type": "object",
    "required": ["x", "y"],
    "properties": {"label": {"type": "string"}, "x": {"type": "integer"}, "y": {"type": "number"}},
    "additionalProperties": False,
}


def declare(annotation: Any, *default: Any) -> type[WorkerParameters]:
    namespace: dict[str, Any] = {"__annotations__": {"x": annotation}, "__module__": __name__}
    if default:
        namespace["x"] = default[0]
    return type("Declared", (WorkerParameters,), namespace)


def property_of(annotation: Any, *default: Any) -> dict[str, Any]:
    schema = ParametersModel(declare(annotation, *default)).json_schema
    Draft202012Validator.check_schema(schema)
    return schema["properties"]["x"]


#: Measured on the reference, which publishes the same for each of these.
PUBLISHED_BY_THE_REFERENCE = [
    (str, {"type": "string"}),
    (int, {"type": "integer"}),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (None, {"type": "null"}),
    (list[int], {"type": "array", "items": {"type": "integer"}}),
    (List[str], {"type": "array", "items": {"type": "string"}}),
    (list[list[int]], {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}),
    (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
    (Any, ANY),
    (Union[int, str], {"oneOf": [{"type": "integer"}, {"type": "string"}]}),
    (int | str, {"oneOf": [{"type": "integer"}, {"type": "string"}]}),
    (Colour, {"type": "string", "enum": ["red", "blue"]}),
    (Level, {"type": "integer", "enum": [1, 2]}),
    (Point, POINT),
    (list[Point], {"type": "array", "items": POINT}),
    (dt.datetime, {"type": "string", "format": "date-time"}),
    (dt.date, {"type": "string", "format": "date"}),
    (dt.time, {"type": "string", "format": "time"}),
    (bytes, {"type": "string", "contentEncoding": "base64"}),
    (
        tuple[int, str],
        {"type": "array", "maxItems": 2, "minItems": 2, "prefixItems": [{"type": "integer"}, {"type": "string"}]},
    ),
    (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
    (Annotated[int, "words"], {"type": "integer"}),
]


@pytest.mark.parametrize(("annotation", "expected"), PUBLISHED_BY_THE_REFERENCE, ids=str)
def test_a_class_is_published_as_by_the_reference(annotation: Any, expected: dict[str, Any]) -> None:
    schema = ParametersModel(declare(annotation)).json_schema

    assert schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["x"],
        "properties": {**AUTOMATIC, "x": expected},
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Optional[int], {"type": "integer"}),
        (int | None, {"type": "integer"}),
        (Optional[list[str]], {"type": "array", "items": {"type": "string"}}),
        (Optional[int | str], {"oneOf": [{"type": "integer"}, {"type": "string"}]}),
        (Optional[Point], POINT),
        (Optional[Any], ANY),
    ],
    ids=str,
)
def test_an_optional_parameter_is_its_type_and_not_required(annotation: Any, expected: dict[str, Any]) -> None:
    assert property_of(annotation) == expected
    assert "required" not in ParametersModel(declare(annotation)).json_schema


#: Where the reference fails (a list can never be passed, an exception, a panic) or says something about Python.
MENDED = [
    (list, {"type": "array"}),
    (dict, {"type": "object"}),
    (dict[str, Any], {"type": "object"}),
    (list[Any], {"type": "array"}),
    (JsonValue, ANY),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
    (list[Optional[int]], {"type": "array", "items": {"oneOf": [{"type": "integer"}, {"type": "null"}]}}),
    (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
    (frozenset[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
    (Path, {"type": "string", "format": "path"}),
    (SecretStr, {"type": "string", "format": "password", "writeOnly": True}),
    # 1 is an integer and a number: "exactly one of" would refuse it.
    (int | float, {"anyOf": [{"type": "integer"}, {"type": "number"}]}),
]


@pytest.mark.parametrize(("annotation", "expected"), MENDED, ids=str)
def test_a_type_the_reference_cannot_do_is_published(annotation: Any, expected: dict[str, Any]) -> None:
    assert property_of(annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "default", "expected"),
    [
        (int, 7, {"type": "integer", "default": 7}),
        (Optional[int], 5, {"type": "integer", "default": 5}),
        (Optional[int], None, {"type": "integer"}),
        (list[int], [1], {"type": "array", "items": {"type": "integer"}, "default": [1]}),
        (Colour, Colour.RED, {"type": "string", "enum": ["red", "blue"], "default": "red"}),
        (dt.date, dt.date(2024, 1, 2), {"type": "string", "format": "date", "default": "2024-01-02"}),
        (float, math.inf, {"type": "number"}),
        (Any, object(), ANY),
        (SecretStr, SecretStr("hunter2"), {"type": "string", "format": "password", "writeOnly": True}),
        (bytes, b"\xff", {"type": "string", "contentEncoding": "base64", "default": "/w=="}),
    ],
    ids=str,
)
def test_a_default_is_shown_when_json_can_show_it(annotation: Any, default: Any, expected: dict[str, Any]) -> None:
    assert property_of(annotation, default) == expected
    assert "required" not in ParametersModel(declare(annotation, default)).json_schema


def test_words_and_bounds_of_a_field_are_shown() -> None:
    assert property_of(int, Field(default=3, ge=1, lt=9, title="Count", description="How many.", examples=[2])) == {
        "type": "integer",
        "default": 3,
        "minimum": 1,
        "exclusiveMaximum": 9,
        "title": "Count",
        "description": "How many.",
        "examples": [2],
    }
    assert property_of(Annotated[str, Field(pattern="^a", max_length=3)]) == {
        "type": "string",
        "pattern": "^a",
        "maxLength": 3,
    }


def test_a_docstring_becomes_title_description_and_the_words_of_its_parameters() -> None:
    class Documented(WorkerParameters):
        """Short title
        in two lines.

        A longer description
        follows.

        :param x: What x is,
            at length.
        :param int y: What y is.
        :returns: Nothing.
        """

        x: int
        y: int = 3
        z: int = 4

    schema = ParametersModel(Documented).json_schema

    assert schema["title"] == "Short title in two lines."
    assert schema["description"] == "A longer description\nfollows."
    assert schema["properties"]["x"] == {"type": "integer", "description": "What x is, at length."}
    assert schema["properties"]["y"]["description"] == "What y is."
    assert schema["properties"]["z"] == {"type": "integer", "default": 4}


def test_required_is_sorted_and_class_variables_are_no_parameters() -> None:
    class Several(WorkerParameters):
        zeta: int
        constant: ClassVar[int] = 3
        alpha: str
        middle: bool = True

    schema = ParametersModel(Several).json_schema

    assert schema["required"] == ["alpha", "zeta"]
    assert set(schema["properties"]) == {"alpha", "middle", "requirements", "source_paths", "zeta"}


def test_the_authors_own_requirements_and_source_paths_win() -> None:
    class Own(WorkerParameters):
        requirements: str
        source_paths: dict[str, int] = {}

    schema = ParametersModel(Own).json_schema

    assert schema["properties"] == {
        "requirements": {"type": "string"},
        "source_paths": {"type": "object", "additionalProperties": {"type": "integer"}, "default": {}},
    }
    assert schema["required"] == ["requirements"]


def test_a_class_without_fields_publishes_the_automatic_parameters() -> None:
    assert ParametersModel(WorkerParameters).json_schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": AUTOMATIC,
        "additionalProperties": False,
    }


def test_a_pydantic_model_is_published_like_a_plain_class() -> None:
    class Model(BaseModel):
        """The parameters."""

        model_config = ConfigDict(extra="ignore")
        x: int
        y: Optional[str]

    assert ParametersModel(Model).json_schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The parameters.",
        "type": "object",
        "required": ["x"],
        "properties": {**AUTOMATIC, "x": {"type": "integer"}, "y": {"type": "string"}},
        "additionalProperties": False,
    }


def test_a_recursive_type_keeps_its_definition() -> None:
    model = ParametersModel(declare(Node))
    validator = Draft202012Validator(model.json_schema)

    assert model.json_schema["properties"]["x"] == {"$ref": "#/$defs/Node"}
    assert validator.is_valid({"x": {"value": 1, "children": [{"value": 2}]}})
    assert not validator.is_valid({"x": {"value": 1, "children": [{"value": "2"}]}})
    with pytest.raises(ParameterError, match=r"Parameter 'x.children\[0\].value' is \"2\"; expected an integer."):
        model.build({"x": {"value": 1, "children": [{"value": "2"}]}})


def test_properties_named_like_keywords_of_json_schema_are_kept() -> None:
    names = ["properties", "items", "anyOf", "default", "$ref", "title", "enum", "description", "required"]
    fields = {name: (Optional[int] if index % 2 else int) for index, name in enumerate(names)}
    plain = {name.replace("$", ""): annotation for name, annotation in fields.items()}
    namespace = {"__annotations__": plain, "__module__": __name__}

    schema = ParametersModel(type("Keywords", (WorkerParameters,), namespace)).json_schema

    assert schema["properties"] == {**AUTOMATIC, **{key: {"type": "integer"} for key in plain}}
    Draft202012Validator.check_schema(schema)


class Scalars(WorkerParameters):
    text: str
    whole: int
    number: float
    flag: bool
    either: int | str
    bounded: Annotated[int, Field(ge=-3, lt=1000)]
    choice: Literal["a", "b", 3]
    colour: Colour
    several: list[int]
    named: dict[str, bool]
    maybe: Optional[int]
    defaulted: float = 0.5
    pair: tuple[int, str] = (1, "a")


MODEL = ParametersModel(Scalars)
VALIDATOR = Draft202012Validator(MODEL.json_schema)
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(),
    "whole": st.integers(),
    "number": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    "flag": st.booleans(),
    "either": st.integers() | st.text(),
    "bounded": st.integers(-3, 999),
    "choice": st.sampled_from(["a", "b", 3]),
    "colour": st.sampled_from(["red", "blue"]),
    "several": st.lists(st.integers()),
    "named": st.dictionaries(st.text(), st.booleans()),
}
SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-5, 5).map(float)
    | st.text()
    | st.sampled_from(["a", "red", "5", "true", 3, 3.0])
    | st.lists(st.integers() | st.text(), max_size=2)
    | st.dictionaries(st.text(), st.booleans() | st.integers(), max_size=2)
)


@given(values=st.fixed_dictionaries(FITTING), name=st.sampled_from(sorted(Scalars.__annotations__)), odd=SCALARS)
def test_what_the_schema_allows_is_what_is_accepted(values: dict[str, Any], name: str, odd: JsonValue) -> None:
    values[name] = odd

    if VALIDATOR.is_valid(values):
        MODEL.build(values)
    else:
        with pytest.raises(ParameterError, match=f"Parameter '{name}"):
            MODEL.build(values)


def test_the_schema_is_json() -> None:
    assert json.loads(json.dumps(MODEL.json_schema, allow_nan=False)) == MODEL.json_schema
