"""What the command makes of ``-p name=value``, and the examples that it writes."""

from __future__ import annotations

import datetime as dt
import enum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

import mcai_worker_sdk as mcai
from mcai_worker_sdk.cli.values import example_values, read_values
from mcai_worker_sdk.errors import ParameterError
from mcai_worker_sdk.parameters import ParametersModel


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(BaseModel):
    width: int = Field(ge=16, multiple_of=16)
    name: str = Field(min_length=6)


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Many(mcai.WorkerParameters):
    """One of each kind that an order may bring."""

    text: str
    count: int
    share: float = Field(gt=0, lt=1)
    steps: int = Field(ge=10, multiple_of=7)
    is_on: bool
    colour: Colour
    mode: Literal["fast", "exact"]
    either: int | str
    size: Size
    tree: Node
    names: list[str] = Field(min_length=2)
    pair: tuple[int, str]
    kinds: set[Literal["a", "b", "c"]] = Field(min_length=2)
    when: dt.datetime
    day: dt.date
    identity: UUID
    place: Path
    raw: bytes
    anything: Any
    below: Annotated[int, Field(le=-3)]
    optional: str | None
    preset: int = 5


SCHEMA = ParametersModel(Many).json_schema


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("text=5", "5"),
        ("text=", ""),
        ("text=a=b", "a=b"),
        ("text=null", "null"),
        ("count=5", 5),
        ("count=five", "five"),
        ("share=1", 1),
        ("is_on=true", True),
        ("is_on=yes", "yes"),
        ("colour=red", "red"),
        ("either=5", 5),
        ("either=five", "five"),
        ('names=["a", "b"]', ["a", "b"]),
        ("names=a", "a"),
        ('size={"width": 16}', {"width": 16}),
        ("anything=5", 5),
        ("anything=five", "five"),
        ("unknown=5", 5),
    ],
)
def test_a_value_is_text_where_the_parameter_takes_text_and_json_elsewhere(argument: str, value: Any):
    name = argument.partition("=")[0]

    (read,) = read_values([argument], SCHEMA).items()

    assert read == (name, value)
    assert type(read[1]) is type(value)


@pytest.mark.parametrize("argument", ["name", "=5", ""])
def test_a_parameter_without_a_value_is_refused(argument: str):
    with pytest.raises(ParameterError, match="expected NAME=VALUE"):
        read_values([argument], SCHEMA)


def test_the_example_of_every_kind_of_parameter_is_taken_by_the_worker():
    values = example_values(SCHEMA)

    ParametersModel(Many).build(values)
    assert set(values) == set(SCHEMA["required"]) | {"preset"}


def test_what_stepflow_adds_by_itself_is_in_no_example():
    assert not {"requirements", "source_paths"} & set(example_values(SCHEMA))
