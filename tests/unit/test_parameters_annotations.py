"""
Annotations that name what is defined later, in every way Python has to write one, and names that nothing defines.

The classes stand in programs of their own: a module with ``from __future__ import annotations`` is another language
than one without, and each Python reads annotations that are no text in its own way.
"""

import re
import sys
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from mcai_worker_sdk.errors import WorkerDefinitionError
from mcai_worker_sdk.parameters import ParametersModel

#: Since 3.14 an annotation is read when somebody asks for it; before, a later class in it is a NameError of Python's.
DEFERRED = sys.version_info >= (3, 14)

IMPORTS = """
import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal, Optional
from pydantic import BaseModel, Field
from mcai_worker_sdk import WorkerParameters
"""

MODEL = """
class Later(BaseModel):
    number: int
"""

#: Programs whose class ``Job`` names ``Later`` before it is there; each annotation to be written as text is in ``~``.
LATER = {
    "union": "class Job(WorkerParameters):\n    value: ~Later | None~" + MODEL,
    "optional": "class Job(WorkerParameters):\n    value: Optional[~Later~]" + MODEL,
    "list": "class Job(WorkerParameters):\n    value: list[~Later~]" + MODEL,
    "annotated": "class Job(WorkerParameters):\n    value: Annotated[~Later~, Field(description='A number.')]" + MODEL,
    "default": "class Job(WorkerParameters):\n    value: ~Later | None~ = Field(default=None)" + MODEL,
    "base": "class Base(WorkerParameters):\n    value: ~Later~\nclass Job(Base):\n    other: int = 1" + MODEL,
    "own hook": (
        "class Base(WorkerParameters):\n    def __init_subclass__(cls):\n        super().__init_subclass__()\n"
        "class Job(Base):\n    value: ~Later~" + MODEL
    ),
    "chain": "class Job(WorkerParameters):\n    value: ~Middle~\nclass Middle(BaseModel):\n    later: ~Later~" + MODEL,
    "dataclass": "class Job(WorkerParameters):\n    value: ~Later~\n@dataclasses.dataclass\nclass Later:\n    a: int",
    "alias": "class Job(WorkerParameters):\n    value: ~Later~\nLater = list[int]",
    "of a plain class": "class Job:\n    value: ~Later~" + MODEL,
    "of a model": "class Job(BaseModel):\n    value: ~Later~" + MODEL,
    "of a dataclass": "@dataclasses.dataclass\nclass Job:\n    value: ~Later~" + MODEL,
    "of a model, itself": "class Job(BaseModel):\n    value: ~Job | None~ = None",
    "of a dataclass, itself": "@dataclasses.dataclass\nclass Job:\n    value: ~Job | None~ = None",
    "in a class": "class Outer:\n    class Job(WorkerParameters):\n        value: ~Later~\nJob = Outer.Job" + MODEL,
}

#: Programs in which the name never comes, with what the error says of the parameter.
NEVER = {
    "class Job(WorkerParameters):\n    fine: int\n    value: ~Later~": "'Later'",
    "class Job(WorkerParameters):\n    fine: int\n    value: ~list[Later] | None~": "'list[Later] | None'",
    "class Base(WorkerParameters):\n    value: ~Later~\nclass Job(Base):\n    fine: int": "'Later'",
    "class Job:\n    value: ~Later~": "'Later'",
    "class Job(BaseModel):\n    value: ~Later~": "'Later'",
    "@dataclasses.dataclass\nclass Job:\n    value: ~Later~": "'Later'",
    "if TYPE_CHECKING:\n    from elsewhere import Later\nclass Job(WorkerParameters):\n    value: ~Later~": "'Later'",
}

WAYS = ["text", "future", *(["as it stands"] if DEFERRED else [])]
PLACES = ["module", "function"]


@pytest.fixture
def module() -> Iterator[ModuleType]:
    module = ModuleType("program_of_a_worker")
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def run(module: ModuleType, program: str, *, way: str, place: str) -> ParametersModel:
    """Run a program with its class ``Job`` in one place, and make the model where a worker would be made."""
    program = re.sub("~(.*?)~", r"'\1'" if way == "text" else r"\1", program)
    if place == "function":
        program = f"def main(make):\n{textwrap.indent(program, '    ')}\n    return make(Job)"
    program = ("from __future__ import annotations\n" if way == "future" else "") + IMPORTS + program
    exec(compile(program, "program.py", "exec", dont_inherit=True), module.__dict__)
    return ParametersModel(module.Job) if place == "module" else module.main(ParametersModel)


def type_of_value(model: ParametersModel) -> str:
    schema = model.json_schema["properties"]["value"]
    return schema.get("type", schema.get("$ref"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("program", LATER.values(), ids=LATER)
def test_an_annotation_may_name_what_is_defined_later(module: ModuleType, program: str, way: str, place: str):
    model = run(module, program, way=way, place=place)

    assert type_of_value(model) in {"object", "array", "#/$defs/Job"}


def test_the_jobs_get_objects_of_the_class_that_came_later(module: ModuleType):
    model = run(module, LATER["chain"], way="text", place="module")

    parameters = model.build({"value": {"later": {"number": 3}}})

    assert type(parameters.value.later) is module.Later
    assert parameters.value.later.number == 3


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("program", "annotation"), NEVER.items())
def test_a_name_that_never_comes_is_refused_when_the_worker_is_made(
    module: ModuleType, program: str, annotation: str, way: str, place: str
):
    with pytest.raises(WorkerDefinitionError) as refused:
        run(module, program, way=way, place=place)

    assert str(refused.value) == (
        f"Parameter 'value' of class Job has the annotation {annotation}; expected a type that can be resolved: "
        "name 'Later' is not defined. Define or import it before the worker is made, not only under TYPE_CHECKING."
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_a_nested_model_lacks_is_told_with_the_parameter(module: ModuleType, way: str):
    program = "class Inner(BaseModel):\n    deep: ~Nowhere~\nclass Job(WorkerParameters):\n    value: Inner"

    with pytest.raises(WorkerDefinitionError) as refused:
        run(module, program, way=way, place="module")

    assert "Parameter 'value' of class Job has the type" in str(refused.value)
    assert str(refused.value).endswith(
        "name 'Nowhere' is not defined. Define or import it before the worker is made, not only under TYPE_CHECKING."
    )


@pytest.mark.parametrize("way", WAYS)
def test_an_object_in_place_of_its_class_is_refused_with_the_class(module: ModuleType, way: str):
    program = "class Made:\n    value: ~Later~\nJob = Made()"

    with pytest.raises(WorkerDefinitionError, match=r"Give the class itself, Made\."):
        run(module, program, way=way, place="module")


def test_a_class_that_was_refused_for_a_name_is_taken_once_the_name_is_there(module: ModuleType):
    program = "class Job(WorkerParameters):\n    value: ~list[Later]~"
    with pytest.raises(WorkerDefinitionError):
        run(module, program, way="text", place="module")

    module.Later = int

    assert ParametersModel(module.Job).build({"value": [1]}).value == [1]


@pytest.mark.parametrize("annotation", ["Kind", "list[Kind]", "Annotated[Kind, Field()]", "Optional[Kind]"])
@pytest.mark.parametrize("way", WAYS)
def test_a_function_that_has_returned_leaves_the_names_it_had(module: ModuleType, annotation: str, way: str):
    program = f"""
def make():
    Kind = Literal['a']
    class Job(WorkerParameters):
        value: {annotation.replace("Kind", "~Kind~")}
    return Job
Job = make()
"""

    model = run(module, program, way=way, place="module")

    assert model.build({"value": ["a"] if "list" in annotation else "a"}).value in ("a", ["a"])


def test_a_function_in_a_function_lends_the_names_of_both(module: ModuleType):
    program = """
def outer(make):
    Far = int
    def inner():
        Near = str
        class Job(WorkerParameters):
            far: "Far"
            near: "Near"
            list_: "list['Late']"
        Late = bool
        return make(Job)
    return inner()
"""
    exec(compile(IMPORTS + program, "program.py", "exec", dont_inherit=True), module.__dict__)

    model: ParametersModel = module.outer(ParametersModel)

    kinds: dict[str, Any] = {name: model.json_schema["properties"][name]["type"] for name in ("far", "near", "list_")}
    assert kinds == {"far": "integer", "near": "string", "list_": "array"}


@pytest.mark.parametrize("way", ["text", "future", *(["as it stands"] if DEFERRED else [])])
def test_a_default_hides_no_type_of_its_name(module: ModuleType, way: str):
    model = run(
        module,
        "from datetime import date\nclass Job(WorkerParameters):\n    date: ~date | None~ = None",
        way=way,
        place="module",
    )

    assert model.json_schema["properties"]["date"] == {"type": "string", "format": "date"}
