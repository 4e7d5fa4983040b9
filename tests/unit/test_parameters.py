"""Values of an order become one new, typed object per job; everything wrong is named at once."""

# ruff: noqa: UP045, RUF012 - authors write Optional and mutable defaults, so both are tested as they write them

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple, Optional

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    RootModel,
    SecretStr,
    computed_field,
    field_validator,
    model_validator,
)

from mcai_worker_sdk.errors import ParameterError, WorkerDefinitionError
from mcai_worker_sdk.parameters import ParametersModel, WorkerParameters

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


class Box(BaseModel):
    width: int
    corner: Point | None = None


class Holder(WorkerParameters):
    value: JsonValue
    anything: Any


def declare(annotation: Any, *default: Any) -> type[WorkerParameters]:
    """A parameters class with the one field ``x``."""
    namespace: dict[str, Any] = {"__annotations__": {"x": annotation}, "__module__": __name__}
    if default:
        namespace["x"] = default[0]
    return type("Declared", (WorkerParameters,), namespace)


def build(parameters_class: type, **values: Any) -> Any:
    return ParametersModel(parameters_class).build(values)


def refusal(parameters_class: type, /, **values: Any) -> str:
    with pytest.raises(ParameterError) as caught:
        build(parameters_class, **values)
    return str(caught.value)


def definition_refusal(parameters_class: Any) -> str:
    with pytest.raises(WorkerDefinitionError) as caught:
        ParametersModel(parameters_class)
    return str(caught.value)


ARRIVING = [
    (str, "é☃😀", "é☃😀"),
    (int, -3, -3),
    (int, 2**70, 2**70),
    (int, 1.0, 1),
    (float, 1, 1.0),
    (float, -1e300, -1e300),
    (bool, True, True),
    (list, [1, None, "a"], [1, None, "a"]),
    (dict, {"a": None, "b": -1.5}, {"a": None, "b": -1.5}),
    (list[int], [1, 2.0], [1, 2]),
    (list[Optional[int]], [1, None], [1, None]),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (dict[int, str], {"1": "a"}, {1: "a"}),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[int, ...], [1, 2], (1, 2)),
    (set[str], ["a", "b"], {"a", "b"}),
    (frozenset[int], [1], frozenset({1})),
    (int | str, 1.0, 1),
    (int | str, "5", "5"),
    (int | float, 1.0, 1.0),
    (Literal["a", 1], 1, 1),
    (Colour, "red", Colour.RED),
    (Level, 2, Level.HIGH),
    (Point, {"x": 1, "y": 2}, Point(1, 2.0)),
    (list[Point], [{"x": 1}], [Point(1)]),
    (Box, {"width": 3, "corner": {"x": 1.0}}, Box(width=3, corner=Point(1))),
    (dt.datetime, "2024-01-02T03:04:05Z", dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)),
    (dt.date, "2024-01-02", dt.date(2024, 1, 2)),
    (dt.timedelta, "PT90S", dt.timedelta(seconds=90)),
    (bytes, "+/+/", b"\xfb\xff\xbf"),
    (Path, "/données", Path("/données")),
    (SecretStr, "s", SecretStr("s")),
    (Optional[int], 5, 5),
    (Any, None, None),
    (None, None, None),
]


@pytest.mark.parametrize(("annotation", "sent", "expected"), ARRIVING, ids=str)
def test_a_value_arrives_with_its_declared_type(annotation: Any, sent: JsonValue, expected: Any) -> None:
    arrived = build(declare(annotation), x=sent).x

    assert arrived == expected
    assert type(arrived) is type(expected)


REFUSED = [
    (int, "5", 'is "5"; expected an integer.'),
    (int, True, "is true; expected an integer."),
    (int, 1.5, "is 1.5; expected an integer."),
    (int, None, "is null; expected an integer."),
    (float, "1", 'is "1"; expected a number.'),
    (float, False, "is false; expected a number."),
    (str, 5, "is 5; expected a string."),
    (bool, 1, "is 1; expected true or false."),
    (list, {}, "is {}; expected an array."),
    (dict, [], "is []; expected an object."),
    (int | str, [], "is []; expected an integer or a string."),
    (Optional[int], "5", 'is "5"; expected an integer.'),
    (Literal["a", "b"], "c", 'is "c"; expected one of "a", "b".'),
    (Literal["a"], "c", 'is "c"; expected "a".'),
    (Colour, "green", 'is "green"; expected one of "red", "blue".'),
    (Point, 3, "is 3; expected an object."),
    (bytes, "é", 'is "é"; expected base64 text.'),
    (dt.datetime, "1700000000", 'is "1700000000"; expected a date and time (ISO 8601).'),
    (dt.date | None, "5", 'is "5"; expected a date (ISO 8601).'),
]


@pytest.mark.parametrize(("annotation", "sent", "expected"), REFUSED, ids=str)
def test_a_value_of_another_type_is_refused_with_the_rule(annotation: Any, sent: JsonValue, expected: str) -> None:
    assert refusal(declare(annotation), x=sent) == f"Parameter 'x' {expected} Correct the order."


NESTED = [
    (list[int], [1, "a"], "Parameter 'x[1]' is \"a\"; expected an integer."),
    (dict[str, list[int]], {"k": [True]}, "Parameter 'x.k[0]' is true; expected an integer."),
    (tuple[int, str], [1, 2], "Parameter 'x[1]' is 2; expected a string."),
    (Point, {"x": "1"}, "Parameter 'x.x' is \"1\"; expected an integer."),
    (Point, {}, "Parameter 'x.x' is missing; expected an integer."),
    (Point, {"x": 1, "z": 1}, "Parameter 'x.z' is unknown; expected one of x, y."),
    (Box, {"width": "3"}, "Parameter 'x.width' is \"3\"; expected an integer."),
    (list[Box | int], [{"width": None}], "Parameter 'x[0].width' is null; expected an integer."),
]


@pytest.mark.parametrize(("annotation", "sent", "expected"), NESTED, ids=str)
def test_a_fault_inside_a_value_is_named_with_its_path(annotation: Any, sent: JsonValue, expected: str) -> None:
    assert expected in refusal(declare(annotation), x=sent)


@given(value=JSON_VALUES, anything=JSON_VALUES)
def test_any_json_value_arrives_equal(value: JsonValue, anything: JsonValue) -> None:
    parameters = HOLDER.build({"value": value, "anything": anything})

    # Compared as text, because 1 == 1.0 == True.
    assert json.dumps(parameters.value) == json.dumps(value)
    assert json.dumps(parameters.anything) == json.dumps(anything)


HOLDER = ParametersModel(Holder)


class TestRequired:
    class Mixed(WorkerParameters):
        number: int
        label: Optional[str]
        size: int | None
        threshold: float = 0.5
        tags: list[str] = []
        limit: Optional[int] = 5
        described: int = Field(default=3, ge=1)

    def test_optional_and_defaulted_fields_may_be_absent(self) -> None:
        assert build(self.Mixed, number=1).__dict__ == {
            "number": 1,
            "label": None,
            "size": None,
            "threshold": 0.5,
            "tags": [],
            "limit": 5,
            "described": 3,
        }

    def test_null_counts_as_absent(self) -> None:
        given_null = dict.fromkeys(["label", "size", "threshold", "tags", "limit", "described"])

        assert build(self.Mixed, number=1, **given_null) == build(self.Mixed, number=1)

    def test_a_required_field_has_to_be_there(self) -> None:
        assert refusal(self.Mixed) == "Parameter 'number' is missing; expected an integer. Correct the order."

    def test_fields_keep_the_order_of_declaration(self) -> None:
        assert list(build(self.Mixed, described=1, number=1).__dict__) == list(self.Mixed.__annotations__)


class TestOneObjectPerJob:
    class Tagged(WorkerParameters):
        tags: list[str] = []
        nested: dict[str, list[int]] = Field(default={"a": [1]})
        number: int | None = None

    def test_defaults_are_not_shared(self) -> None:
        model = ParametersModel(self.Tagged)
        first = model.build({})
        first.tags.append("x")
        first.nested["a"].append(2)
        first.extra = 1

        assert model.build({}).__dict__ == {"tags": [], "nested": {"a": [1]}, "number": None}
        assert self.Tagged.__dict__["tags"] == []

    def test_values_of_one_job_do_not_reach_the_next(self) -> None:
        model = ParametersModel(self.Tagged)
        model.build({"number": 5})

        assert model.build({}).number is None

    def test_the_object_shares_nothing_with_the_order(self) -> None:
        order: dict[str, Any] = {"value": {"a": [1]}, "anything": [1], "requirements": {"paths": ["/a"]}}
        parameters = HOLDER.build(order)
        parameters.value["a"].append(2)
        parameters.anything.clear()
        parameters.requirements["paths"].clear()

        assert order == {"value": {"a": [1]}, "anything": [1], "requirements": {"paths": ["/a"]}}


class TestTheAuthorsClass:
    def test_methods_properties_and_constants_work(self) -> None:
        class Rich(WorkerParameters):
            FACTOR: ClassVar[int] = 3
            LIMIT: Final[int] = 4
            number: int

            def __init__(self) -> None:
                raise AssertionError("not called for a job")

            def scaled(self) -> int:
                return self.number * self.FACTOR

            @property
            def next(self) -> int:
                return self.number + 1

            @computed_field
            @property
            def half(self) -> float:
                return self.number / 2

        parameters = build(Rich, number=2)

        assert type(parameters) is Rich
        assert (parameters.scaled(), parameters.next, parameters.half, parameters.LIMIT) == (6, 3, 1.0, 4)
        assert parameters.__dict__ == {"number": 2}

    def test_inherited_fields_and_validators_count(self) -> None:
        class Base(WorkerParameters):
            number: int
            name: str = "base"

            @field_validator("number")
            @classmethod
            def not_negative(cls, value: int) -> int:
                if value < 0:
                    raise ValueError("must not be negative")
                return value

        class Derived(Base):
            name: str = "derived"
            extra: bool = False

        assert build(Derived, number=1).__dict__ == {"number": 1, "name": "derived", "extra": False}
        assert "Parameter 'number' is -1, which its validator refuses: must not be negative." in refusal(
            Derived, number=-1
        )

    def test_a_model_validator_sees_all_fields_and_the_authors_methods(self) -> None:
        class Span(WorkerParameters):
            start: int
            stop: int

            def length(self) -> int:
                return self.stop - self.start

            @model_validator(mode="after")
            def ordered(self) -> Span:
                if self.length() < 0:
                    raise ValueError("start lies after stop")
                return self

        assert build(Span, start=1, stop=3).length() == 2
        assert refusal(Span, start=3, stop=1) == (
            "The parameters are refused: start lies after stop. Correct the order."
        )

    def test_whatever_a_validator_raises_refuses_the_order(self) -> None:
        class Broken(WorkerParameters):
            number: int

            @field_validator("number")
            @classmethod
            def look_up(cls, value: int) -> int:
                return {}[value]

        assert "a validator raised KeyError: 7" in refusal(Broken, number=7)

    def test_names_that_pydantic_reserves_for_models_work(self) -> None:
        names = ["model_path", "model_config", "schema", "json", "copy", "dict", "validate", "construct", "fields"]
        names += ["self", "cls", "values", "id", "type", "_private", "date", "secret_ids"]
        namespace = {"__annotations__": dict.fromkeys(names, str), "__module__": __name__}

        parameters = build(type("Named", (WorkerParameters,), namespace), **dict.fromkeys(names, "a"))

        assert parameters.__dict__ == dict.fromkeys(names, "a")

    def test_a_default_does_not_hide_the_type_of_its_name(self) -> None:
        class Dated(WorkerParameters):
            datetime: dt.date | None = None

        assert build(Dated, datetime="2024-01-02").datetime == dt.date(2024, 1, 2)

    def test_string_annotations_may_name_what_a_function_defines(self) -> None:
        class Speed(enum.Enum):
            FAST = "fast"

        class Inner(WorkerParameters):
            class Mode(enum.Enum):
                A = "a"

            speed: Speed
            mode: Mode

        parameters = build(Inner, speed="fast", mode="a")

        assert (parameters.speed, parameters.mode) == (Speed.FAST, Inner.Mode.A)

    def test_an_alias_is_the_id(self) -> None:
        class Aliased(WorkerParameters):
            class_: str = Field(alias="class")

        assert build(Aliased, **{"class": "a"}).class_ == "a"
        assert "Parameter 'class' is missing" in refusal(Aliased)

    def test_an_author_may_allow_conversions(self) -> None:
        class Lax(WorkerParameters):
            number: int = Field(strict=False)
            other: int = 0

        assert build(Lax, number="5").number == 5
        assert "Parameter 'other' is \"5\"" in refusal(Lax, number=1, other="5")

    def test_a_class_without_fields_works(self) -> None:
        assert build(WorkerParameters).__dict__ == {}
        assert refusal(WorkerParameters, x=1) == (
            "Parameter 'x' is unknown; expected one of requirements, source_paths. Correct the order."
        )


class TestOtherClasses:
    def test_a_plain_annotated_class_is_accepted(self) -> None:
        class Plain:
            number: int
            tags: list[str] = []

            def double(self) -> int:
                return self.number * 2

        parameters = build(Plain, number=2, source_paths=["/a"])

        assert type(parameters) is Plain
        assert parameters.double() == 4
        assert parameters.__dict__ == {"number": 2, "tags": [], "source_paths": ["/a"]}

    def test_a_pydantic_model_is_accepted_and_read_strictly(self) -> None:
        class Model(BaseModel):
            number: int
            label: Optional[str]
            size: Optional[int] = 3

        assert build(Model, number=1.0, requirements={}) == Model(number=1, label=None)
        assert refusal(Model, number="5", zzz=1) == (
            "Parameter 'zzz' is unknown; expected one of label, number, requirements, size, source_paths. "
            "Parameter 'number' is \"5\"; expected an integer. Correct the order."
        )

    def test_an_open_model_takes_any_id(self) -> None:
        class Open(BaseModel):
            model_config = ConfigDict(extra="allow")
            number: int

        model = ParametersModel(Open)

        assert model.build({"number": 1, "more": [1]}).more == [1]
        assert "additionalProperties" not in model.json_schema

    def test_a_dataclass_is_accepted_and_initialised(self) -> None:
        @dataclasses.dataclass
        class Data:
            number: int
            label: Optional[str]
            data: bytes = b""
            twice: int = dataclasses.field(init=False)

            def __post_init__(self) -> None:
                self.twice = 2 * self.number

        parameters = build(Data, number=2, data="AAE=")

        assert type(parameters) is Data
        assert parameters.__dict__ == {"number": 2, "label": None, "data": b"\x00\x01", "twice": 4}
        assert "Parameter 'number' is missing" in refusal(Data)

    def test_a_frozen_dataclass_with_slots_is_accepted(self) -> None:
        @dataclasses.dataclass(frozen=True, slots=True)
        class Data:
            number: int = 3

        assert build(Data, requirements={}) == Data(3)


class Slotted:
    __slots__ = ()


class Abstract(ABC):
    @abstractmethod
    def method(self) -> None: ...


class Tuple(NamedTuple):
    number: int


@pytest.mark.parametrize(
    ("parameters_class", "expected"),
    [
        (3, "The parameters class is 3; expected a class"),
        (Holder(value=1, anything=2), "Give the class itself, Holder."),
        (int, "made from a built-in type"),
        (Tuple, "made from a built-in type"),
        (Slotted, "Slotted has __slots__"),
        (Abstract, "Abstract is abstract"),
        (RootModel[int], "is a RootModel"),
        (declare(Callable[[int], int]), "Parameter 'x' of class Declared has the type"),
        (declare(np.ndarray), "Parameter 'x' of class Declared has the type <class 'numpy.ndarray'>"),
        (declare("Missing"), "'Missing'; expected a type that can be resolved: name 'Missing' is not defined."),
        (declare("int |"), "expected a type that can be resolved"),
    ],
    ids=str,
)
def test_a_class_that_cannot_hold_parameters_is_refused_at_once(parameters_class: Any, expected: str) -> None:
    assert expected in definition_refusal(parameters_class)


def test_a_validator_of_an_unknown_field_is_refused_at_once() -> None:
    class Wrong(WorkerParameters):
        number: int

        @field_validator("numbr")
        @classmethod
        def check(cls, value: int) -> int:
            return value

    assert definition_refusal(Wrong) == (
        "The validator 'check' of class Wrong is for 'numbr'; expected one of its parameters: number."
    )


class TestMessages:
    class Job(WorkerParameters):
        number: int
        name: str
        mode: Literal["fast", "exact"] = "fast"
        count: int = Field(default=1, ge=1, le=9)
        level: float = Field(default=0.0, gt=-1)
        code: str = Field(default="a", pattern="^[a-z]+$", max_length=3)

    def test_one_message_names_every_wrong_field(self) -> None:
        text = refusal(self.Job, number="5", mode="slow", count=10, zzz=1, yyy=2)

        assert sorted(re.findall("Parameter '(.*?)'", text)) == ["count", "mode", "name", "number", "yyy", "zzz"]
        assert "Parameter 'count' is 10; expected an integer >= 1 and <= 9." in text
        assert "Parameter 'name' is missing; expected a string." in text
        assert text.count("Correct the order.") == 1

    def test_allowed_ids_are_listed_for_an_unknown_one(self) -> None:
        text = refusal(self.Job, number=1, name="a", zzz=1)

        allowed = "code, count, level, mode, name, number, requirements, source_paths"
        assert text == f"Parameter 'zzz' is unknown; expected one of {allowed}. Correct the order."

    def test_a_constraint_is_told(self) -> None:
        text = refusal(self.Job, number=1, name="a", level=-1, code="LONG")

        assert "Parameter 'level' is -1; expected a number > -1." in text
        assert "Parameter 'code' is \"LONG\"; expected a string of at most 3 characters and that matches" in text

    def test_a_long_value_is_shortened(self) -> None:
        text = refusal(self.Job, number="x" * 500, name="a")

        assert '"' + "x" * 76 + "..." in text
        assert "x" * 77 not in text

    def test_text_that_is_no_unicode_is_named(self) -> None:
        text = refusal(self.Job, number=1, name="a\ud800")

        assert "Parameter 'name' is \"a\\ud800\"; expected a string (it holds a lone surrogate" in text
        assert text.encode()

    def test_a_value_too_deep_for_json_is_named(self) -> None:
        deep: list[Any] = []
        for _ in range(300):
            deep = [deep]

        assert "Parameter 'anything' is [[[[" in refusal(Holder, value=1, anything=deep)

    def test_whole_floats_are_integers_beside_other_faults_too(self) -> None:
        text = refusal(self.Job, number=1.0, name=3)

        assert "number" not in text.replace("a number", "")
        assert "Parameter 'name' is 3" in text


class TestSecrets:
    class Login(WorkerParameters):
        user: str
        password: SecretStr | None = None
        token: int = 0

        @model_validator(mode="after")
        def check(self) -> TestSecrets.Login:
            if self.user == "root":
                raise ValueError(f"root may not use {self.password and self.password.get_secret_value()}")
            return self

    def test_the_value_of_a_secret_id_is_never_shown(self) -> None:
        with pytest.raises(ParameterError) as caught:
            ParametersModel(self.Login).build({"user": "a", "token": "hunter2"}, secret_ids=frozenset({"token"}))

        assert str(caught.value) == (
            "Parameter 'token' has a secret value that does not fit; expected an integer. Correct the order."
        )
        assert caught.value.__cause__ is None

    def test_the_value_of_a_secret_type_is_never_shown(self) -> None:
        assert "4711" not in refusal(self.Login, user="a", password=4711)
        assert "hunter2" not in refusal(self.Login, user="a", password=["hunter2"])

    def test_a_validators_text_is_masked(self) -> None:
        assert refusal(self.Login, user="root", password="hunter2") == (
            "The parameters are refused: root may not use ***. Correct the order."
        )

    def test_a_secret_inside_a_model_is_never_shown(self) -> None:
        class Account(BaseModel):
            name: str
            password: SecretStr

        class Owner(WorkerParameters):
            account: Account

        text = refusal(Owner, account={"name": 1, "password": "hunter2", "pass": "hunter2"})

        assert "Parameter 'account.name'" in text
        assert "hunter2" not in text

    def test_repr_shows_no_secret(self) -> None:
        parameters = ParametersModel(self.Login).build(
            {"user": "a", "password": "hunter2", "token": 4711}, secret_ids=frozenset({"token"})
        )

        assert repr(parameters) == "Login(user='a', password=SecretStr('**********'), token=***)"
        assert parameters.__dict__["token"] == 4711


class TestAutomaticParameters:
    class Own(WorkerParameters):
        requirements: list[str]
        source_paths: Optional[str]

    def test_they_are_attributes_only_when_the_order_has_them(self) -> None:
        parameters = build(WorkerParameters, requirements={"paths": ["/a"]}, source_paths=None)

        assert parameters.__dict__ == {"requirements": {"paths": ["/a"]}}

    def test_they_are_checked(self) -> None:
        assert refusal(WorkerParameters, requirements=3, source_paths=["/a", 1]) == (
            "Parameter 'requirements' is 3; expected an object. "
            "Parameter 'source_paths[1]' is 1; expected a string. Correct the order."
        )
        assert "Parameter 'source_paths' is \"/a\"; expected an array." in refusal(WorkerParameters, source_paths="/a")

    def test_the_authors_own_fields_replace_them(self) -> None:
        assert build(self.Own, requirements=["a"]).__dict__ == {"requirements": ["a"], "source_paths": None}
        assert "Parameter 'requirements' is missing" in refusal(self.Own)


def test_ignored_ids_are_dropped_unless_declared() -> None:
    model = ParametersModel(declare(int, 0))
    ignored = frozenset({"source_path", "x"})

    assert model.build({"source_path": "/a", "x": 3}, ignored_ids=ignored).__dict__ == {"x": 3}
    with pytest.raises(ParameterError, match="'batch_size' is unknown"):
        model.build({"source_path": "/a", "batch_size": 3}, ignored_ids=ignored)


class TestMadeByHand:
    class Hand(WorkerParameters):
        number: int
        when: dt.datetime | None = None
        colour: Colour = Colour.RED
        point: Point | None = None
        box: Box | None = None
        secret: SecretStr | None = None
        data: bytes = b""
        path: Path | None = None
        names: set[str] = set()

    def test_keyword_arguments_are_checked_like_an_order(self) -> None:
        assert self.Hand(number=3) == build(self.Hand, number=3)
        with pytest.raises(ParameterError, match="Parameter 'number' is missing"):
            self.Hand()
        with pytest.raises(ParameterError, match="Parameter 'number' is \"5\"; expected an integer"):
            self.Hand(number="5")

    def test_python_values_are_accepted_where_an_order_has_their_text(self) -> None:
        values: dict[str, Any] = {
            "number": 3,
            "when": dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
            "colour": Colour.BLUE,
            "point": Point(1, 2.5),
            "box": Box(width=1, corner=Point(3)),
            "secret": SecretStr("hunter2"),
            "data": b"\xfb\xff",
            "path": Path("/a"),
            "names": {"a", "b"},
        }

        assert self.Hand(**values).__dict__ == values

    def test_a_value_without_a_json_form_is_named(self) -> None:
        with pytest.raises(ParameterError, match=r"Parameter 'number' is <object object at .*>; expected an integer"):
            self.Hand(number=object())

    def test_objects_are_equal_by_class_and_fields(self) -> None:
        class Other(WorkerParameters):
            number: int

        class Another(WorkerParameters):
            number: int

        assert Other(number=1) == Other(number=1)
        assert Other(number=1) != Other(number=2)
        assert Other(number=1) != Another(number=1)
        assert repr(Other(number=1)) == "Other(number=1)"
