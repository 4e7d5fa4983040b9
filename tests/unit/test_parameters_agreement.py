"""The published schema and what is accepted are one: whatever is annotated, whatever an order brings."""

# ruff: noqa: PYI061, UP007, UP045 - authors write these spellings, so they are tested as they write them

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Optional, TypeVar, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    RootModel,
    SecretStr,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict  # Python 3.11's own is not enough for pydantic

from mcai_worker_sdk.errors import ParameterError, WorkerDefinitionError
from mcai_worker_sdk.parameters import ParametersModel, WorkerParameters


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Share(enum.Enum):
    HALF = 0.5
    WHOLE = 1.0


class Mixed(enum.Enum):
    WORD = "a"
    ONE = 1
    NOTHING = None


class Truth(enum.Enum):
    YES = True
    NO = False


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Bits(enum.IntFlag):
    FIRST = 1
    THIRD = 4


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0
    made: int = dataclasses.field(init=False, default=3)


class Box(BaseModel):
    width: int
    corner: Point | None = None


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Renamed(BaseModel):
    model_config = ConfigDict(populate_by_name=True, extra="forbid")
    class_: int = Field(alias="class")
    other: int = Field(3, validation_alias=AliasChoices("p", "q"))


class Keyed(TypedDict):
    key: int
    extra: NotRequired[str]


class Pair(NamedTuple):
    first: int
    second: str = "x"


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class A(BaseModel):
    kind: Literal["a"]
    value: int


class B(BaseModel):
    kind: Literal["b"]
    text: str


class Listed(RootModel[list[int]]):
    pass


T = TypeVar("T")


class Holder(BaseModel, Generic[T]):
    held: T


INTEGERS = st.integers() | st.sampled_from([0, 1, 2, 3, 2**53 + 1, 2**63, 2**64, 10**30])
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.0, 1e22])
TEXTS = st.text() | st.sampled_from(["", "a", "ab", "abc", "red", "1", "01", "1.0", "true", "x", "class"])
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS
MEMBERS = ["x", "y", "made", "width", "corner", "name", "class", "class_", "p", "q", "key", "extra", "kind", "value"]
ANY_JSON = st.recursive(
    SCALARS,
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS) | TEXTS, parts, max_size=3),
    max_leaves=5,
)
POINTS = st.fixed_dictionaries({"x": INTEGERS | st.booleans()}, optional={"y": FLOATS, "made": INTEGERS, "z": TEXTS})

#: Annotations of one value, with values that fit, or nearly.
LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: INTEGERS | FLOATS,
    float: INTEGERS | FLOATS,
    bool: SCALARS,
    None: SCALARS,
    Any: ANY_JSON,
    JsonValue: ANY_JSON,
    object: ANY_JSON,
    Literal[1, 2]: SCALARS,
    Literal[True]: SCALARS,
    Literal[0, "a", None]: SCALARS,
    Literal["a", "b"]: SCALARS,
    Literal[Level.LOW]: SCALARS,
    Colour: SCALARS,
    Level: SCALARS,
    Share: SCALARS,
    Mixed: SCALARS,
    Truth: SCALARS,
    Rights: SCALARS,
    Bits: SCALARS | st.integers(0, 8),
    SecretStr: TEXTS,
    Annotated[int, Field(ge=1, lt=3)]: SCALARS,
    Annotated[float, Field(gt=0.5)]: SCALARS,
    Annotated[str, Field(min_length=1, max_length=2)]: TEXTS,
    Annotated[str, Field(pattern="^a")]: TEXTS,
    Annotated[list[int], Field(min_length=1, max_length=2)]: st.lists(INTEGERS, max_size=3),
    Annotated[dict[str, int], Field(min_length=1)]: st.dictionaries(TEXTS, INTEGERS, max_size=2),
    Point: POINTS,
    Box: st.fixed_dictionaries({"width": SCALARS}, optional={"corner": POINTS, "z": TEXTS}),
    Closed: st.fixed_dictionaries({"name": SCALARS}, optional={"z": TEXTS}),
    Open: st.fixed_dictionaries({"name": SCALARS}, optional={"z": TEXTS}),
    Renamed: st.fixed_dictionaries({}, optional=dict.fromkeys(["class", "class_", "p", "q"], INTEGERS | FLOATS)),
    Keyed: st.fixed_dictionaries({"key": SCALARS}, optional={"extra": TEXTS, "z": TEXTS}),
    Pair: st.lists(INTEGERS | TEXTS | FLOATS, max_size=3) | st.fixed_dictionaries({"first": INTEGERS}),
    Tree: st.fixed_dictionaries({"value": SCALARS}, optional={"children": st.lists(POINTS, max_size=1)}),
    Annotated[Union[A, B], Field(discriminator="kind")]: st.fixed_dictionaries(
        {"kind": st.sampled_from(["a", "b", "c"])}, optional={"value": SCALARS, "text": SCALARS}
    ),
    Listed: st.lists(SCALARS, max_size=3),
    Holder[int]: st.fixed_dictionaries({"held": SCALARS}),
    tuple[int, str]: st.lists(SCALARS, max_size=3),
    tuple[()]: st.lists(SCALARS, max_size=1),
    set: st.lists(ANY_JSON, max_size=3),
    list: st.lists(ANY_JSON, max_size=3),
    dict: st.dictionaries(TEXTS, ANY_JSON, max_size=2),
}
HASHABLE = [str, int, float, bool, Literal[1, 2], Level, Colour, Rights, tuple[int, str], Union[bool, int]]
KEYS = [str, int, float, bool, Level, Colour, Literal["a", "b"], Annotated[str, Field(pattern="^a")], Union[int, str]]
KEY_TEXTS = TEXTS | INTEGERS.map(str) | FLOATS.map(repr) | st.sampled_from(["true", "false", " 1", "+1", "1_0", "-0"])


@st.composite
def kinds(draw: st.DrawFn, depth: int = 2) -> tuple[Any, st.SearchStrategy[Any]]:
    """An annotation, and values that fit it, or nearly."""
    leaf = draw(st.sampled_from(list(LEAVES)))
    shape = draw(st.sampled_from(["leaf", "list", "many", "dict", "set", "tuple", "optional", "union"]))
    if shape == "leaf" or depth == 0:
        return leaf, LEAVES[leaf]
    if shape == "set":
        item = draw(st.sampled_from(HASHABLE))
        of = draw(st.sampled_from([set, frozenset]))
        return of[item], st.lists(LEAVES.get(item, SCALARS), max_size=3)
    inner, values = draw(kinds(depth - 1))
    if shape in ("list", "many"):
        of = draw(st.sampled_from([list, Sequence, collections.deque] if shape == "list" else [list]))
        return of[inner], st.lists(values | SCALARS, max_size=3)
    if shape == "dict":
        key = draw(st.sampled_from(KEYS))
        of = draw(st.sampled_from([dict, Mapping, collections.OrderedDict]))
        return of[key, inner], st.dictionaries(KEY_TEXTS, values, max_size=2)
    if shape == "optional":
        return Optional[inner], values
    other, other_values = draw(kinds(0))
    if shape == "tuple":
        return tuple[inner, other], st.tuples(values, other_values).map(list)
    return Union[inner, other], values | other_values


def declare(annotation: Any, *default: Any) -> type[WorkerParameters]:
    namespace: dict[str, Any] = {"__annotations__": {"f": annotation}, "__module__": __name__}
    if default:
        namespace["f"] = default[0]
    return type("Declared", (WorkerParameters,), namespace)


def is_accepted(model: ParametersModel, value: Any) -> bool:
    try:
        model.build({"f": value})
    except ParameterError:
        return False
    return True


def is_allowed(model: ParametersModel, value: Any) -> bool:
    return Draft202012Validator(model.json_schema).is_valid({"f": value})


@settings(max_examples=100, deadline=None)
@given(kind=kinds(), data=st.data())
def test_a_value_is_accepted_where_the_published_schema_allows_it_and_nowhere_else(kind: Any, data: st.DataObject):
    annotation, near = kind
    model = ParametersModel(declare(annotation))
    Draft202012Validator.check_schema(model.json_schema)
    for value in data.draw(st.lists(near | ANY_JSON, min_size=5, max_size=5)):
        if value is None and "f" not in model.json_schema.get("required", ()):
            continue  # null is absent there
        assert is_accepted(model, value) == is_allowed(model, value), (annotation, value, model.json_schema)


FORMATS = {
    dt.datetime: (["2024-01-02T03:04:05Z"], ["x", "1700000000", 1700000000, True]),
    dt.date: (["2024-01-02"], ["x", "1700000000", 19000]),
    dt.time: (["03:04:05"], ["x", "5", 5]),
    dt.timedelta: (["PT90S"], ["x", "5", 5, 1.5]),
    bytes: (["AAE="], ["é", 1]),
    decimal.Decimal: ([1, 1.5, "1.5", 10**400], ["x", "NaN", True]),
    uuid.UUID: (["12345678-1234-5678-1234-567812345678"], ["x", 1]),
    Path: (["/a", ""], [1]),
    ipaddress.IPv4Address: (["127.0.0.1"], ["x", True]),
    complex: (["1+2j"], ["x", 1]),
}


@pytest.mark.parametrize(("annotation", "values"), FORMATS.items(), ids=str)
@pytest.mark.parametrize("of", [lambda a: a, lambda a: list[a], lambda a: Optional[a], lambda a: dict[str, a]])
def test_a_text_of_a_format_is_a_text_for_the_schema_and_of_the_format_for_the_job(
    annotation: Any, values: Any, of: Any
):
    model = ParametersModel(declare(of(annotation)))
    wrap = {list: lambda v: [v], dict: lambda v: {"k": v}}.get(getattr(of(annotation), "__origin__", None), lambda v: v)
    fitting, others = values
    for value in fitting:
        assert is_accepted(model, wrap(value)), value
        assert is_allowed(model, wrap(value)), value
    for value in others:
        assert not is_accepted(model, wrap(value)), value
        assert isinstance(value, str) or not is_allowed(model, wrap(value)), value


REFUSED = [
    (Literal[1, 2], True, "is true; expected one of 1, 2."),
    (Literal[True], 1, "is 1; expected true."),
    (Literal[True], 1.0, "is 1.0; expected true."),
    (Level, True, "is true; expected one of 1, 2."),
    (Union[Level, float], True, "is true; expected one of 1, 2 or a number."),
    (Rights, 4, "is 4; expected an integer >= 0 and <= 3."),
    (Rights, -1, "is -1; expected an integer >= 0 and <= 3."),
    (Bits, 2, "is 2; expected one of 0, 1, 4, 5."),
    (set[int], [1, 1], "is [1, 1]; expected an array without duplicates."),
    (set[float], [1, 1.0], "is [1, 1.0]; expected an array without duplicates."),
    (set, [[1]], "[0]' is [1]; expected null or true or false or a number or a string"),
    (Union[Annotated[float, Field(gt=0.5)], int], 0.25, "is 0.25; expected a number > 0.5 or an integer."),
    (dict[int, str], {"a": "b"}, 'is {"a": "b"}; expected an object whose keys are integers'),
    (dict[int, str], {"1_0": "b"}, 'is {"1_0": "b"}; expected an object whose keys are integers.'),
    (dict[float, str], {"inf": "b"}, 'is {"inf": "b"}; expected an object whose keys are numbers.'),
    (dict[bool, str], {"on": "b"}, 'is {"on": "b"}; expected an object with keys among "true", "false".'),
    (dict[Level, str], {" 1": "b"}, 'is {" 1": "b"}; expected an object with keys among "1", "2".'),
    (Iterable[int], "12", 'is "12"; expected an array.'),
    (Iterable[int], [1, "2"], '[1]\' is "2"; expected an integer.'),
    (Pair, {"first": 1}, 'is {"first": 1}; expected an array'),
    (list[dt.date], ["1700000000"], '[0]\' is "1700000000"; expected a date (ISO 8601)'),
    (float, 10**400, "expected a number."),
    (Renamed, {"class": 1, "p": 1, "q": 1}, "'f.q' is unknown"),
]


@pytest.mark.parametrize(("annotation", "sent", "expected"), REFUSED, ids=str)
def test_what_pydantic_takes_beyond_the_schema_is_refused_with_the_rule(annotation: Any, sent: Any, expected: str):
    with pytest.raises(ParameterError) as caught:
        ParametersModel(declare(annotation)).build({"f": sent})

    assert "Parameter 'f" in str(caught.value)
    assert expected in str(caught.value)


ARRIVING = [
    (Literal[1, 2], 1.0, 1),
    (Level, 2.0, Level.HIGH),
    (Rights, 3, Rights.READ | Rights.WRITE),
    (Bits, 5.0, Bits.FIRST | Bits.THIRD),
    (dict[int, str], {"-1": "a"}, {-1: "a"}),
    (dict[Level, int], {"1": 1.0}, {Level.LOW: 1}),
    (Mapping[str, int], {"a": 1.0}, {"a": 1}),
    (Iterable[int], [1, 2.0], [1, 2]),
    (Union[Annotated[float, Field(gt=0.5)], int], 0.0, 0),
    (Union[Annotated[float, Field(gt=0.5)], int], 1.0, 1.0),
    (Optional[Iterable[int]], [1], [1]),
    (float, 2**64, 2.0**64),
    (Union[Box, Point], {"width": 1.0}, Box(width=1)),
    (Pair, [1.0], Pair(1)),
    (Renamed, {"class_": 1, "q": 2}, Renamed(**{"class": 1, "q": 2})),
]


@pytest.mark.parametrize(("annotation", "sent", "expected"), ARRIVING, ids=str)
def test_what_the_schema_allows_arrives_as_the_annotation_says(annotation: Any, sent: Any, expected: Any):
    model = ParametersModel(declare(annotation))

    arrived = model.build({"f": sent}).f

    assert is_allowed(model, sent)
    assert repr(arrived) == repr(expected)


class Chosen(BaseModel):
    f: int = Field(validation_alias=AliasChoices("p", "q"))


BY_HAND = [
    (dict[int, str], {1: "a"}),
    (dict[Level, int], {Level.LOW: 1}),
    (dict[bool, int], {True: 1}),
    (dict[float, int], {1.5: 1}),
    (dict[dt.date, int], {dt.date(2024, 1, 2): 1}),
    (Rights, Rights.READ | Rights.WRITE),
    (set[Level], {Level.LOW}),
    (Pair, Pair(1, "b")),
    (Renamed, Renamed(**{"class": 1, "q": 2})),
    (Chosen, Chosen(q=1)),
    (Listed, Listed([1])),
    (Holder[int], Holder[int](held=1)),
    (Point, Point(1)),
    (Box, Box(width=1)),
    (decimal.Decimal, decimal.Decimal("1.5")),
]


@pytest.mark.parametrize(("annotation", "value"), BY_HAND, ids=str)
def test_a_value_made_in_python_is_taken_where_an_order_has_its_json(annotation: Any, value: Any):
    assert declare(annotation)(f=value).f == value


# A type of which no value can be given is refused by its name


class Pairs(enum.Enum):
    FIRST = (1, 2)


class Sparse(enum.Flag):
    _ignore_ = "bit"
    vars().update({f"BIT_{bit}": 1 << (2 * bit) for bit in range(9)})


@pytest.mark.parametrize(
    "annotation",
    [
        type[int],
        Pairs,
        Sparse,
        Literal[b"x"],
        set[list[int]],
        set[dict[str, int]],
        set[Point],
        frozenset[Union[int, Box]],
        set[tuple[int, list[int]]],
        dict[tuple[int, int], int],
        dict[Point, int],
        list[Iterable[int]],
        T,
        list[T],
        dataclasses.InitVar[int],
    ],
    ids=str,
)
def test_a_type_that_no_order_can_fill_is_refused_by_its_name(annotation: Any):
    with pytest.raises(WorkerDefinitionError, match=r"Parameter 'f' of class Declared "):
        ParametersModel(declare(annotation))


def test_an_alias_that_points_into_a_value_is_refused_by_its_name():
    from pydantic import AliasPath

    with pytest.raises(WorkerDefinitionError, match="the alias of f, which points into a value"):
        ParametersModel(declare(int, Field(validation_alias=AliasPath("p", 0))))


# What is documented as beside the schema


class Sized(BaseModel):
    size: int | None = 5
    scale: float = 0.5


def test_null_is_taken_wherever_a_member_may_be_absent():
    model = ParametersModel(declare(list[Union[Box, Keyed, Sized]]))
    sent = [{"width": 1, "corner": None}, {"key": 1, "extra": None}, {"size": None, "scale": None}]

    (box, keyed, sized) = model.build({"f": sent}).f

    assert box == Box(width=1)
    assert keyed == {"key": 1}, "absent where the type has no None"
    assert (sized.size, sized.scale) == (None, 0.5), "None where it has"
    assert not is_accepted(ParametersModel(declare(Box)), {"width": None})


def test_null_of_a_parameter_is_absent():
    assert ParametersModel(declare(Optional[int], 5)).build({"f": None}).f == 5


def test_null_is_a_value_where_the_schema_says_so():
    class Loose(BaseModel):
        anything: Any = 3

    model = ParametersModel(declare(Loose))

    assert model.build({"f": {"anything": None}}).f.anything is None
    assert is_allowed(model, {"anything": None})


class Checked(BaseModel):
    number: int = 0

    @field_validator("number", mode="before")
    @classmethod
    def read(cls, value: Any) -> Any:
        return 7 if value == "seven" else value


class Converted(BaseModel):
    model_config = ConfigDict(strict=False)
    number: int


@pytest.mark.parametrize(
    ("annotation", "sent", "expected"),
    [
        (Checked, {"number": "seven"}, Checked(number=7)),
        (Checked, {"number": 1.0}, Checked(number=1)),
        (Converted, {"number": "5"}, Converted(number=5)),
        (Annotated[int, Field(strict=False)], "5", 5),
        (Annotated[int, BeforeValidator(int)], "5", 5),
        (Annotated[str, StringConstraints(strip_whitespace=True, max_length=1)], " a ", "a"),
    ],
    ids=str,
)
def test_what_the_authors_code_takes_is_taken(annotation: Any, sent: Any, expected: Any):
    assert ParametersModel(declare(annotation)).build({"f": sent}).f == expected


def test_conversions_allowed_in_one_place_are_allowed_there_only():
    class Both(WorkerParameters):
        lax: int = Field(strict=False)
        box: Box

    model = ParametersModel(Both)

    assert model.build({"lax": "5", "box": {"width": 1}}).lax == 5
    with pytest.raises(ParameterError, match=r"Parameter 'box.width' is \"1\"; expected an integer."):
        model.build({"lax": "5", "box": {"width": "1"}})


def test_a_validator_of_the_whole_class_reads_what_the_order_brings():
    class Old(WorkerParameters):
        level: Literal[1, 2]

        @model_validator(mode="before")
        @classmethod
        def rename(cls, values: Any) -> Any:
            return {"level": {"low": 1, "high": 2}.get(values["level"], values["level"])}

    assert ParametersModel(Old).build({"level": "low"}).level == 1


def test_a_function_that_chooses_among_branches_that_all_fit_decides():
    def tag(value: Any) -> str:
        return "whole" if isinstance(value, dict) and "whole" in value else "any"

    chosen = Annotated[
        Union[Annotated[dict[str, int], Tag("whole")], Annotated[dict[str, float], Tag("any")]], Discriminator(tag)
    ]
    model = ParametersModel(declare(chosen))

    assert repr(model.build({"f": {"whole": 1}}).f) == "{'whole': 1}"
    assert repr(model.build({"f": {"share": 1}}).f) == "{'share': 1.0}"


def test_marks_of_the_sdk_are_not_published():
    class Marked(WorkerParameters):
        number: float = Field(strict=False)
        checked: Checked

    def keys(schema: Any) -> set[str]:
        if isinstance(schema, dict):
            return set(schema) | {key for part in schema.values() for key in keys(part)}
        return {key for part in schema for key in keys(part)} if isinstance(schema, list) else set()

    assert not {key for key in keys(ParametersModel(Marked).json_schema) if "\0" in key}


def test_one_message_names_what_pydantic_and_what_the_schema_refuses():
    class Two(WorkerParameters):
        level: Literal[1, 2]
        number: int
        point: Point

    with pytest.raises(ParameterError) as caught:
        ParametersModel(Two).build({"level": True, "number": "5", "point": {"x": 1, "made": 1}})

    assert str(caught.value) == (
        "Parameter 'number' is \"5\"; expected an integer. Parameter 'point.made' is unknown; expected one of x, y. "
        "Parameter 'level' is true; expected one of 1, 2. Correct the order."
    )


def test_a_typed_dict_is_read_as_strictly_as_the_rest():
    model = ParametersModel(declare(Keyed))

    assert model.build({"f": {"key": 1.0}}).f == {"key": 1}
    assert model.json_schema["properties"]["f"]["additionalProperties"] is False
