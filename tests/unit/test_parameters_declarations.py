"""What a parameters class declares beside its fields: taken over or refused by its name, and never lost in silence."""

# ruff: noqa: RUF012 - authors write mutable defaults, so they are tested as they write them

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import attrs
import pydantic.dataclasses
import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PrivateAttr

from mcai_worker_sdk.errors import ParameterError, WorkerDefinitionError
from mcai_worker_sdk.parameters import ParametersModel, WorkerParameters

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


def configured(annotation: Any, **config: Any) -> type[WorkerParameters]:
    """A parameters class with the one field ``f`` and a ``model_config``."""
    namespace = {"__annotations__": {"f": annotation}, "__module__": __name__, "model_config": ConfigDict(**config)}
    return type("Configured", (WorkerParameters,), namespace)


def build(parameters_class: type, **values: Any) -> Any:
    return ParametersModel(parameters_class).build(values)


def refusal_of_class(parameters_class: Any) -> str:
    with pytest.raises(WorkerDefinitionError) as caught:
        ParametersModel(parameters_class)
    return str(caught.value)


# model_config


@pytest.mark.parametrize(
    ("config", "annotation", "sent", "expected"),
    [
        ({"str_strip_whitespace": True}, str, " a ", "a"),
        ({"str_to_lower": True}, str, "A", "a"),
        ({"str_to_upper": True}, str, "a", "A"),
        ({"strict": False}, int, "5", 5),
        ({"use_enum_values": True}, Colour, "red", "red"),
        ({"arbitrary_types_allowed": True}, int, 5, 5),
        ({"val_json_bytes": "utf8"}, bytes, "é", "é".encode()),
        ({"frozen": False, "extra": None, "protected_namespaces": ()}, int, 5, 5),
    ],
    ids=str,
)
def test_what_a_configuration_says_of_reading_is_done(config: Any, annotation: Any, sent: Any, expected: Any):
    arrived = build(configured(annotation, **config), f=sent).f

    assert arrived == expected
    assert type(arrived) is type(expected)


def test_ids_that_are_not_named_are_kept_dropped_or_refused_as_configured():
    kept, dropped = configured(int, extra="allow"), configured(int, extra="ignore")

    assert build(kept, f=1, more=[1]).__dict__ == {"f": 1, "more": [1]}
    assert kept(f=1, more=2).more == 2
    assert build(dropped, f=1, more=[1]).__dict__ == {"f": 1}
    assert build(dropped, f=1, source_paths=["/a"]).source_paths == ["/a"]
    for extra in ("forbid", None):
        with pytest.raises(ParameterError, match="Parameter 'more' is unknown"):
            build(configured(int, extra=extra), f=1, more=[1])
    assert "additionalProperties" not in ParametersModel(kept).json_schema
    assert "additionalProperties" not in ParametersModel(dropped).json_schema


def test_ids_may_be_made_from_names():
    named = configured(int, alias_generator=lambda name: f"the_{name}")

    assert ParametersModel(named).json_schema["required"] == ["the_f"]
    assert build(named, the_f=1).__dict__ == {"f": 1}
    assert named(f=1) == build(named, the_f=1)


def test_words_of_the_configuration_are_published_and_inherited():
    class Base(WorkerParameters):
        model_config = ConfigDict(title="The title", extra="allow", str_to_lower=True)

    class Derived(Base):
        model_config = ConfigDict(json_schema_extra={"examples": [{"f": "a"}]}, str_to_lower=False)
        f: str

    schema = ParametersModel(Derived).json_schema

    assert (schema["title"], schema["examples"]) == ("The title", [{"f": "a"}])
    assert build(Derived, f="A", more=1).__dict__ == {"f": "A", "more": 1}


def test_a_plain_class_may_be_configured_too():
    class Plain:
        model_config = {"extra": "allow"}
        f: int

    assert build(Plain, f=1, more=2).more == 2


@pytest.mark.parametrize(
    "config",
    [
        {"frozen": True},
        {"validate_assignment": True},
        {"from_attributes": True},
        {"hide_input_in_errors": True},
        {"use_attribute_docstrings": True},
        {"ser_json_timedelta": "float"},
        {"str_min_length": 3},
        {"coerce_numbers_to_str": True},
        {"str_strip_whitspace": True},
    ],
    ids=str,
)
def test_what_a_plain_class_cannot_keep_or_nobody_knows_is_refused_by_its_name(config: Any):
    (key,) = config

    text = refusal_of_class(configured(int, **config))

    assert text.startswith(f"The model_config of class Configured sets {key}; expected one of alias_generator, ")
    assert text.endswith("Take it out, or make the class a pydantic model or a dataclass.")


def test_a_configuration_that_is_none_is_refused():
    class Wrong(WorkerParameters):
        model_config = 3

    assert refusal_of_class(Wrong) == (
        "The model_config of class Wrong is 3; expected a pydantic.ConfigDict. Annotate it, if it is a parameter."
    )


def test_a_configuration_may_be_annotated_as_what_it_is_or_be_a_parameter():
    class Annotated_(WorkerParameters):
        model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    class Field_(WorkerParameters):
        model_config: str

    assert build(Annotated_, more=1).more == 1
    assert build(Field_, model_config="a").model_config == "a"


def test_configurations_that_other_kinds_of_class_read_are_refused_where_nobody_does():
    class Old(WorkerParameters):
        class Config:
            extra = "allow"

    class OfDataclasses(WorkerParameters):
        __pydantic_config__ = ConfigDict(extra="allow")

    @dataclasses.dataclass
    class OfModels:
        model_config = ConfigDict(extra="allow")
        f: int = 0

    assert "class Old has Config, which is not read" in refusal_of_class(Old)
    assert "class OfDataclasses has __pydantic_config__, which is not read" in refusal_of_class(OfDataclasses)
    assert "class OfModels has model_config, which is not read" in refusal_of_class(OfModels)


def test_a_type_may_be_called_config():
    class Typed(WorkerParameters):
        class Config(BaseModel):
            level: int

        f: Config

    assert build(Typed, f={"level": 1}).f.level == 1


def test_a_model_that_ignores_what_it_does_not_name_is_warned_of_what_becomes_of_it():
    class Model(BaseModel):
        model_config = ConfigDict(extra="ignore")

    class Silent(BaseModel):
        pass

    (warning,) = ParametersModel(Model).warnings

    assert warning.startswith("The model_config of class Model says extra='ignore'; an order with an unknown")
    assert ParametersModel(Silent).warnings == ()


# Names


def test_an_alias_is_the_one_id_unless_the_name_is_allowed():
    class Aliased(WorkerParameters):
        class_: int = Field(alias="class")

    class Both(WorkerParameters):
        model_config = ConfigDict(populate_by_name=True)
        class_: int = Field(alias="class")

    with pytest.raises(ParameterError, match="Parameter 'class_' is unknown; expected one of class, "):
        build(Aliased, class_=1)
    assert Aliased(class_=1).class_ == 1
    assert build(Both, class_=1) == build(Both, **{"class": 1}) == Both(class_=1)


def test_each_of_several_ids_is_published_and_taken_but_not_two_at_once():
    class Several(WorkerParameters):
        f: int = Field(validation_alias=AliasChoices("p", "q"))

    model = ParametersModel(Several)

    assert {"p", "q"} <= set(model.json_schema["properties"])
    assert model.build({"p": 1}) == model.build({"q": 1}) == Several(f=1)
    with pytest.raises(ParameterError, match="Parameter 'q' is unknown"):
        model.build({"p": 1, "q": 1})
    with pytest.raises(ParameterError, match="Parameter 'p' is missing"):
        model.build({})


@pytest.mark.parametrize("annotation", [int, Annotated[int, Field(alias="x")]], ids=str)
def test_an_alias_of_a_dataclass_is_its_id(annotation: Any):
    default = {} if annotation is not int else {"f": Field(alias="x")}
    namespace = {"__annotations__": {"f": annotation}, "__module__": __name__, **default}
    aliased = dataclasses.dataclass(type("Aliased", (), namespace))

    assert build(aliased, x=1).f == 1
    with pytest.raises(ParameterError, match="'f' is unknown"):
        build(aliased, f=1)


def test_what_only_the_constructor_of_a_dataclass_takes_may_be_given():
    @dataclasses.dataclass
    class Data:
        f: int
        factor: dataclasses.InitVar[int]

        def __post_init__(self, factor: int) -> None:
            self.f *= factor

    assert build(Data, f=2, factor=3).f == 6


# Fields


@pytest.mark.parametrize(
    "field",
    [Field(repr=False), dataclasses.field(repr=False), Field(default=1, repr=False)],
    ids=["required", "dataclasses", "default"],
)
def test_a_field_that_shall_not_be_shown_is_not(field: Any):
    class Login(WorkerParameters):
        user: str
        token: int = field

    assert repr(build(Login, user="a", token=4711)) == "Login(user='a')"
    assert repr(Login(user="a", token=4711)) == "Login(user='a')"


@pytest.mark.parametrize("field", [Field(default=3, init=False), dataclasses.field(default=3, init=False)], ids=str)
def test_a_field_that_cannot_be_given_is_not_published(field: Any):
    class Fixed(WorkerParameters):
        f: int = field

    model = ParametersModel(Fixed)

    assert model.build({}).f == 3
    assert "f" not in model.json_schema["properties"]
    with pytest.raises(ParameterError, match="Parameter 'f' is unknown"):
        model.build({"f": 1})


def test_a_default_may_be_made_from_the_fields_before():
    class Sized(WorkerParameters):
        width: int
        bounded: Annotated[int, Field(ge=1)]
        given: Annotated[int, Field(ge=1)] = 5
        within: Annotated[int, Field(default=6)]
        label: str | None
        height: int = Field(default_factory=lambda fields: sum(filter(None, fields.values())))
        labels: list[str] = dataclasses.field(default_factory=list)

    expected = {"width": 1, "bounded": 2, "given": 5, "within": 6, "label": None, "height": 14, "labels": []}
    assert build(Sized, width=1, bounded=2).__dict__ == expected


def test_a_line_between_positional_and_named_fields_is_no_field():
    class Lined(WorkerParameters):
        f: int
        _: dataclasses.KW_ONLY
        g: int = 3

    assert build(Lined, f=1).__dict__ == {"f": 1, "g": 3}


def test_what_is_done_after_the_fields_are_set_is_done():
    class Doubled(WorkerParameters):
        f: int

        def __post_init__(self) -> None:
            self.twice = 2 * self.f

    assert build(Doubled, f=2).twice == 4


class Private(WorkerParameters):
    f: dict[str, int] = PrivateAttr(default_factory=dict)


class Frozen(WorkerParameters):
    f: int = Field(3, frozen=True)


class FrozenWithin(WorkerParameters):
    f: Annotated[int, Field(frozen=True)]


class OnlyGiven(WorkerParameters):
    f: int = Field(3, init_var=True)


class OfAttrs(WorkerParameters):
    f: int = attrs.field(default=3)


class OfVariables(WorkerParameters, Generic[T]):
    f: list[T]


class Inherited(OfVariables[int]):
    pass


@pytest.mark.parametrize(
    ("parameters_class", "expected"),
    [
        (Private, "is a PrivateAttr, which is for pydantic models."),
        (Frozen, "is frozen, which is for pydantic models and dataclasses."),
        (FrozenWithin, "is frozen, which is for pydantic models and dataclasses."),
        (OnlyGiven, "has init_var; expected a field that the job can read."),
        (OfAttrs, "has a field of attrs as its default; expected a value, or pydantic's Field(...)."),
        (OfVariables, "has the type list[~T], which holds a type variable; expected a type."),
        (Inherited, "has the type list[~T], which holds a type variable; expected a type."),
    ],
)
def test_a_field_of_which_half_would_be_ignored_is_refused_by_its_name(parameters_class: type, expected: str):
    assert f"Parameter 'f' of class {parameters_class.__name__} {expected}" in refusal_of_class(parameters_class)


def test_a_generic_model_is_taken():
    class Model(BaseModel, Generic[T]):
        f: T

    assert build(Model[int], f=1).f == 1
    with pytest.raises(ParameterError, match="Parameter 'f' is \"a\"; expected an integer"):
        build(Model[int], f="a")


# Classes


@pytest.mark.parametrize("options", [{}, {"slots": False}], ids=str)
def test_a_class_of_attrs_is_refused(options: Any):
    made = attrs.define(type("Made", (), {"__annotations__": {"f": int}, "f": 3, "__module__": __name__}), **options)

    assert refusal_of_class(made).startswith("The parameters class Made is a class of attrs; expected an annotated")


def test_a_hook_of_models_is_refused_where_it_would_not_be_called():
    class Hooked(WorkerParameters):
        f: int

        def model_post_init(self, context: Any) -> None:
            raise AssertionError("not called")

    text = refusal_of_class(Hooked)

    assert text.startswith("The parameters class Hooked has model_post_init, which is not read in this kind of class.")
    assert "__post_init__" in text


def test_a_model_keeps_all_that_models_have():
    class Model(BaseModel):
        model_config = ConfigDict(frozen=True)
        f: int
        _twice: int = PrivateAttr(0)

        def model_post_init(self, context: Any) -> None:
            self._twice = 2 * self.f

    parameters = build(Model, f=2)

    assert parameters._twice == 4
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        parameters.f = 3


def test_a_dataclass_of_pydantic_is_read_by_its_own_configuration():
    @pydantic.dataclasses.dataclass(config=ConfigDict(extra="allow", str_to_lower=True))
    class Data:
        f: str

    assert build(Data, f="A", more=1).__dict__ == {"f": "a", "more": 1}


# Attributes without an annotation


def test_an_attribute_that_may_be_meant_as_a_parameter_is_warned_of():
    class Base(WorkerParameters):
        threshold = 0.5

    class Forgotten(Base):
        labels = ["a"]
        colour = Colour.RED
        nothing = None
        annotated: int = 1

    warnings = ParametersModel(Forgotten).warnings

    assert [warning.split()[7] for warning in warnings] == ["threshold", "labels", "colour", "nothing"]
    assert warnings[0] == (
        "The parameters class Forgotten has the attribute threshold without an annotation: it is no parameter. "
        "Annotate it if it shall be one, with ClassVar if not."
    )


def test_what_is_no_parameter_by_its_name_or_kind_is_not_warned_of():
    class Quiet(WorkerParameters):
        """Words."""

        model_config = ConfigDict(extra="allow")
        LIMIT = 3
        KINDS = ("a", "b")
        _private = 3
        counted: ClassVar[int] = 0
        f: int = 1

        class Inner(enum.Enum):
            A = "a"

        def method(self) -> int:
            return 1

        @property
        def twice(self) -> int:
            return 2

        @functools.cached_property
        def thrice(self) -> int:
            return 3

        @staticmethod
        def helper() -> int:
            return 4

        @classmethod
        def made(cls) -> int:
            return 5

        shortcut = len
        partial = functools.partial(len)

    assert ParametersModel(Quiet).warnings == ()


def test_a_dataclass_is_warned_of_too():
    @dataclasses.dataclass
    class Data:
        f: int = 1
        forgotten = 2

    (warning,) = ParametersModel(Data).warnings

    assert "attribute forgotten" in warning


def test_a_field_without_an_annotation_is_refused():
    class Bare(WorkerParameters):
        threshold = Field(0.5)

    assert refusal_of_class(Bare) == (
        "Parameter 'threshold' of class Bare has no annotation; expected its type. Write threshold: ... = Field(...)."
    )
