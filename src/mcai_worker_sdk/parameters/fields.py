"""What the author of a parameters class declared: its fields, resolved and handed to pydantic."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import pydantic
import pydantic.dataclasses
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, TypeAdapter
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

__all__ = ["Fields", "read_fields", "unusable"]

#: How the values of an order are read: JSON types are never converted into one another, unknown keys are refused.
_CONFIG = ConfigDict(
    strict=True,
    extra="forbid",
    populate_by_name=True,
    arbitrary_types_allowed=False,
    val_json_bytes="base64",
    ser_json_bytes="base64",
)

#: The only field of the hidden class around a model or a dataclass; never seen outside.
_WRAPPED = "parameters"


@dataclasses.dataclass(frozen=True, slots=True)
class Fields:
    """A parameters class as pydantic understands it."""

    hidden_class: Any
    """The pydantic dataclass that validates; never given to user code as it is."""
    wrapped: str | None
    """Name of the hidden class's field that holds the author's object; ``None`` when the fields lie in it directly."""
    ids: frozenset[str]
    """Every id an order may use."""
    nullable_ids: frozenset[str]
    """Ids a model or a dataclass demands although they may be null: an order may leave them out all the same."""
    annotations: Mapping[str, Any]
    """The resolved annotation of each field, by its name in the class, in the order of declaration."""
    takes_any_id: bool
    """The author's model accepts ids it does not name (``extra="allow"``)."""


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
    if issubclass(parameters_class, BaseModel) or dataclasses.is_dataclass(parameters_class):
        return _wrapped_fields(parameters_class)
    return _plain_fields(parameters_class)


def _plain_fields(parameters_class: type) -> Fields:
    _check_instances(parameters_class)
    annotations = _field_annotations(parameters_class)
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
    for name, annotation in annotations.items():
        default = _declared_default(parameters_class, name)
        if default is not inspect.Parameter.empty:
            namespace[name] = _as_field(default)
        elif _is_nullable(annotation) and not _has_annotated_default(annotation):
            namespace[name] = Field(default=None)
    hidden_class = _make_hidden_class(parameters_class, (parameters_class,), namespace, annotations)
    return Fields(
        hidden_class=hidden_class,
        wrapped=None,
        ids=_ids(hidden_class.__pydantic_fields__, by_name=True),
        nullable_ids=frozenset(),
        annotations=annotations,
        takes_any_id=False,
    )


def _wrapped_fields(parameters_class: Any) -> Fields:
    namespace = {"__annotations__": {_WRAPPED: parameters_class}, "__module__": parameters_class.__module__}
    if issubclass(parameters_class, BaseModel):
        infos: dict[str, FieldInfo] = parameters_class.model_fields
        config: Mapping[str, Any] = parameters_class.model_config
        if "root" in infos:
            raise WorkerDefinitionError(
                f"The parameters class {parameters_class.__name__} is a RootModel; expected a model with named fields."
            )
    else:
        infos = getattr(parameters_class, "__pydantic_fields__", None) or {
            field.name: _field_of(field) for field in dataclasses.fields(parameters_class) if field.init
        }
        config = getattr(parameters_class, "__pydantic_config__", {})
    annotations = _field_annotations(parameters_class)
    annotations = {name: annotations.get(name, Any) for name in infos}
    hidden_class = _make_hidden_class(parameters_class, (), namespace, annotations)
    by_name = bool(config.get("populate_by_name") or config.get("validate_by_name"))
    nullable = {name: info for name, info in infos.items() if info.is_required() and _is_nullable(annotations[name])}
    return Fields(
        hidden_class=hidden_class,
        wrapped=_WRAPPED,
        ids=_ids(infos, by_name=by_name),
        nullable_ids=frozenset(_published_id(name, info) for name, info in nullable.items()),
        annotations=annotations,
        takes_any_id=config.get("extra") == "allow",
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
    parameters_class: type, bases: tuple[type, ...], namespace: dict[str, Any], annotations: dict[str, Any]
) -> Any:
    name, names = parameters_class.__name__, local_names(parameters_class)
    try:
        if issubclass(parameters_class, BaseModel) and not parameters_class.__pydantic_complete__:
            parameters_class.model_rebuild(_types_namespace=names)
        plain = types.new_class(name, bases, exec_body=lambda body: body.update(namespace))
        hidden = pydantic.dataclasses.dataclass(plain, kw_only=True, repr=False, eq=False, config=_CONFIG)
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
            TypeAdapter(annotation).json_schema()
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
    return origin is ClassVar


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
    if isinstance(default, FieldInfo | dataclasses.Field):
        # One declaration may serve several hidden classes (inheritance); pydantic and dataclasses write into it.
        return copy.copy(default)
    return Field(default=default)


def _field_of(field: dataclasses.Field[Any]) -> Any:
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    return Field() if required else Field(default=None)


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


def _ids(infos: dict[str, FieldInfo], *, by_name: bool) -> frozenset[str]:
    return frozenset(id_ for name, info in infos.items() for id_ in _accepted_ids(name, info, by_name=by_name))


def _accepted_ids(name: str, info: FieldInfo, *, by_name: bool) -> Iterator[str]:
    alias = info.validation_alias
    if alias is None or by_name:
        yield name
    if isinstance(alias, str):
        yield alias
    elif isinstance(alias, AliasPath):
        yield str(alias.path[0])
    elif isinstance(alias, AliasChoices):
        yield from (choice if isinstance(choice, str) else str(choice.path[0]) for choice in alias.choices)


def _published_id(name: str, info: FieldInfo) -> str:
    return next(_accepted_ids(name, info, by_name=False))


def _has_fields(value: object) -> bool:
    return any(own_annotations(cls) for cls in type(value).__mro__) and not callable(value)
