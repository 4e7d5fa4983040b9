"""What the author of a parameters class declared: its fields, resolved and handed to pydantic."""

from __future__ import annotations

import collections.abc
import copy
import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import pydantic
import pydantic.dataclasses
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.fields import FieldInfo

from mcai_worker_sdk.errors import WorkerDefinitionError
from mcai_worker_sdk.parameters.annotations import (
    first_sentence,
    local_names,
    own_annotations,
    remedy_of,
    resolved_annotations,
    shorten,
)
from mcai_worker_sdk.parameters.config import STRICT, read_config
from mcai_worker_sdk.parameters.declarations import check_declarations, check_fields
from mcai_worker_sdk.parameters.generator import generate, ids_of_fields

__all__ = ["Fields", "read_fields", "unusable"]

#: The only field of the hidden class around a model or a dataclass; never seen outside.
_WRAPPED = "parameters"

_UNKNOWN_IDS: Final[Mapping[str | None, Literal["refuse", "keep", "drop"]]] = {
    None: "refuse",
    "forbid": "refuse",
    "allow": "keep",
    "ignore": "drop",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Fields:
    """A parameters class as pydantic understands it."""

    hidden_class: Any
    """The pydantic dataclass that validates; never given to user code as it is."""
    wrapped: str | None
    """Name of the hidden class's field that holds the author's object; ``None`` when the fields lie in it directly."""
    id_of: Mapping[str, str]
    """The id of each field, by its name in the class."""
    nullable_ids: frozenset[str]
    """Ids a model or a dataclass demands although they may be null: an order may leave them out all the same."""
    annotations: Mapping[str, Any]
    """The resolved annotation of each field, by its name in the class, in the order of declaration."""
    unknown_ids: Literal["refuse", "keep", "drop"]
    """What becomes of ids that the class does not name (``extra``)."""
    unshown: frozenset[str]
    """Fields that a ``repr`` leaves out."""


def read_fields(parameters_class: type) -> Fields:
    """
    Read the fields of a parameters class.

    Args:
        parameters_class: A :class:`WorkerParameters`, another annotated class, a pydantic model or a dataclass.

    Raises:
        WorkerDefinitionError: It is none of these, or one of its fields cannot be a parameter; names the field.
    """
    if not isinstance(parameters_class, type):
        advice = f" Give the class itself, {type(parameters_class).__name__}." if _has_fields(parameters_class) else ""
        raise WorkerDefinitionError(
            f"The parameters class is {shorten(parameters_class)}; expected a class with annotated fields.{advice}"
        )
    check_declarations(parameters_class)
    if issubclass(parameters_class, BaseModel) or dataclasses.is_dataclass(parameters_class):
        return _wrapped_fields(parameters_class)
    return _plain_fields(parameters_class)


def _plain_fields(parameters_class: type) -> Fields:
    _check_instances(parameters_class)
    annotations = {name: _read_at_once(part) for name, part in _field_annotations(parameters_class).items()}
    defaults = {name: value for owner in reversed(parameters_class.__mro__) for name, value in vars(owner).items()}
    check_fields(parameters_class, annotations, defaults)
    config = read_config(parameters_class, annotations)
    decorated = _decorated(parameters_class)
    _check_validators(parameters_class, decorated, annotations)
    namespace: dict[str, Any] = {
        "__annotations__": annotations,
        "__module__": parameters_class.__module__,
        "__qualname__": parameters_class.__qualname__,
        # The words of WorkerParameters, taken as it is, are not about a worker's parameters.
        "__doc__": parameters_class.__dict__.get("__doc__") if annotations else None,
        **decorated,
    }
    # pydantic puts what has no Field behind what has one, and a default may be made from the fields before it.
    needs_order = any(isinstance(d, FieldInfo) and d.default_factory_takes_validated_data for d in defaults.values())
    for name, annotation in annotations.items():
        default = _declared_default(parameters_class, name)
        if default is not inspect.Parameter.empty:
            namespace[name] = _as_field(default)
        elif _is_nullable(annotation) and not _has_annotated_default(annotation):
            namespace[name] = Field(default=None)
        elif needs_order:
            namespace[name] = Field()
    hidden_class = _make_hidden_class(parameters_class, (parameters_class,), namespace, annotations, config)
    infos: dict[str, FieldInfo] = hidden_class.__pydantic_fields__
    return Fields(
        hidden_class=hidden_class,
        wrapped=None,
        id_of=ids_of_fields(hidden_class.__pydantic_core_schema__, None),
        nullable_ids=frozenset(),
        annotations=annotations,
        unknown_ids=_UNKNOWN_IDS[config.get("extra")],
        unshown=frozenset(name for name, info in infos.items() if not info.repr),
    )


def _wrapped_fields(parameters_class: Any) -> Fields:
    namespace = {"__annotations__": {_WRAPPED: parameters_class}, "__module__": parameters_class.__module__}
    annotations = _field_annotations(parameters_class)
    if issubclass(parameters_class, BaseModel):
        infos: dict[str, FieldInfo] = parameters_class.model_fields
        config: Mapping[str, Any] = parameters_class.model_config
        if "root" in infos:
            raise WorkerDefinitionError(
                f"The parameters class {parameters_class.__name__} is a RootModel; expected a model with named fields."
            )
    else:
        infos = getattr(parameters_class, "__pydantic_fields__", None) or {
            field.name: _field_of(field, annotations.get(field.name, Any))
            for field in dataclasses.fields(parameters_class)
            if field.init
        }
        config = getattr(parameters_class, "__pydantic_config__", {})
    annotations = {name: annotations.get(name, Any) for name in infos}
    hidden_class = _make_hidden_class(parameters_class, (), namespace, annotations, STRICT)
    id_of = ids_of_fields(hidden_class.__pydantic_core_schema__, _WRAPPED)
    nullable = [name for name, info in infos.items() if info.is_required() and _is_nullable(annotations[name])]
    return Fields(
        hidden_class=hidden_class,
        wrapped=_WRAPPED,
        id_of=id_of,
        nullable_ids=frozenset(id_of[name] for name in nullable),
        annotations=annotations,
        # Read alike from every model: pydantic's default, to drop what is unknown, would hide an order's misspelt ids.
        unknown_ids="keep" if config.get("extra") == "allow" else "refuse",
        unshown=frozenset(),
    )


def _check_instances(parameters_class: type) -> None:
    if inspect.isabstract(parameters_class):
        raise WorkerDefinitionError(
            f"The parameters class {parameters_class.__name__} is abstract; expected a class whose objects can be made."
        )
    try:
        instance: object = object.__new__(parameters_class)
    except TypeError:
        raise WorkerDefinitionError(
            f"The parameters class is {parameters_class.__name__}; expected a class with annotated fields "
            "that is not made from a built-in type. Derive it from WorkerParameters."
        ) from None
    if not hasattr(instance, "__dict__"):
        raise WorkerDefinitionError(
            f"The parameters class {parameters_class.__name__} has __slots__ and no __dict__; "
            "expected a class whose instances have attributes. Remove __slots__."
        )


def _make_hidden_class(
    parameters_class: type,
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    annotations: dict[str, Any],
    config: ConfigDict,
) -> Any:
    name, names = parameters_class.__name__, local_names(parameters_class)
    try:
        if issubclass(parameters_class, BaseModel) and not parameters_class.__pydantic_complete__:
            parameters_class.model_rebuild(_types_namespace=names)
        plain = types.new_class(name, bases, exec_body=lambda body: body.update(namespace))
        hidden = pydantic.dataclasses.dataclass(plain, kw_only=True, repr=False, eq=False, config=config)
        pydantic.dataclasses.rebuild_dataclass(hidden, raise_errors=True, _types_namespace=names)
    except Exception as error:  # annotations may run any code of their types
        raise unusable(name, annotations, error) from error
    return hidden


def unusable(class_name: str, annotations: Mapping[str, Any], error: Exception) -> WorkerDefinitionError:
    """
    The error for a parameters class that pydantic refuses.

    Args:
        class_name: Name of the parameters class.
        annotations: The resolved annotation of each field.
        error: What pydantic says.
    """
    reason = first_sentence(error)
    field = _unusable_field(annotations)
    if field is None:
        return WorkerDefinitionError(f"The parameters class {class_name} cannot be used: {reason}")
    remedy = remedy_of(error) or "Declare JSON's own types, or a pydantic model."
    return WorkerDefinitionError(
        f"Parameter {field!r} of class {class_name} has the type {shorten(annotations[field])}; "
        f"expected a type that JSON can carry: {reason} {remedy}"
    )


def _unusable_field(annotations: Mapping[str, Any]) -> str | None:
    for name, annotation in annotations.items():
        try:
            generate(TypeAdapter(annotation).core_schema)
        except Exception:  # noqa: BLE001 - only the question which field it is; the caller reports the error
            return name
    return None


def _field_annotations(parameters_class: type) -> dict[str, Any]:
    return {
        name: annotation
        for name, annotation in resolved_annotations(parameters_class).items()
        if not _is_constant(parameters_class, name, annotation)
    }


def _is_constant(parameters_class: type, name: str, annotation: Any) -> bool:
    origin = typing.get_origin(annotation) or annotation
    if origin is Final:
        return _declared_default(parameters_class, name) is not inspect.Parameter.empty
    return origin in (ClassVar, dataclasses.KW_ONLY)


def _read_at_once(annotation: Any) -> Any:
    """``list`` for ``Iterable``: pydantic would check the items only when the job asks for them."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (collections.abc.Iterable, collections.abc.Generator):
        return list[arguments[0]]  # type: ignore[valid-type]  # read at run time
    if origin is typing.Annotated:
        return typing.Annotated[(_read_at_once(arguments[0]), *arguments[1:])]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(map(_read_at_once, arguments))]  # noqa: UP007 - made at run time
    return annotation


def _is_nullable(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _is_nullable(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return any(argument is type(None) or _is_nullable(argument) for argument in typing.get_args(annotation))
    return False


def _has_annotated_default(annotation: Any) -> bool:
    return any(
        isinstance(metadata, FieldInfo) and not metadata.is_required()
        for metadata in getattr(annotation, "__metadata__", ())
    )


def _declared_default(parameters_class: type, name: str) -> Any:
    for owner in parameters_class.__mro__:
        if owner is not object and name in owner.__dict__:
            return owner.__dict__[name]
    return inspect.Parameter.empty


def _as_field(default: Any) -> Any:
    if isinstance(default, FieldInfo):
        # One declaration may serve several hidden classes (inheritance); pydantic writes into it.
        return copy.copy(default)
    if not isinstance(default, dataclasses.Field):
        return Field(default=default)
    options: dict[str, Any] = {"repr": default.repr, "init": default.init}
    if default.default is not dataclasses.MISSING:
        options["default"] = default.default
    if default.default_factory is not dataclasses.MISSING:
        options["default_factory"] = default.default_factory
    return Field(**options)


def _field_of(field: dataclasses.Field[Any], annotation: Any) -> FieldInfo:
    if field.default is not dataclasses.MISSING:
        return FieldInfo.from_annotated_attribute(annotation, field.default)
    if field.default_factory is not dataclasses.MISSING:
        return FieldInfo.from_annotated_attribute(annotation, Field(default_factory=field.default_factory))
    return FieldInfo.from_annotation(annotation)


def _decorated(parameters_class: type) -> dict[str, Any]:
    """Validators and computed fields: what pydantic's decorators left in the class and its bases."""
    return {
        name: value
        for owner in reversed(parameters_class.__mro__)
        for name, value in owner.__dict__.items()
        if hasattr(value, "decorator_info")
    }


def _check_validators(parameters_class: type, decorated: dict[str, Any], annotations: dict[str, Any]) -> None:
    # pydantic asks this of models, not of the dataclass that stands for a plain class.
    for name, value in decorated.items():
        for field in getattr(value.decorator_info, "fields", ()):
            if field != "*" and field not in annotations and value.decorator_info.check_fields is not False:
                raise WorkerDefinitionError(
                    f"The validator {name!r} of class {parameters_class.__name__} is for {field!r}; "
                    f"expected one of its parameters: {', '.join(annotations)}."
                )


def _has_fields(value: object) -> bool:
    return any(own_annotations(cls) for cls in type(value).__mro__) and not callable(value)
