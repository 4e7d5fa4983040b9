"""
The annotations of a parameters class as types, whenever and wherever the names in them are defined.

An annotation may name what comes later: as text, with ``from __future__ import annotations``, or since Python 3.14 as
it stands. So nothing is resolved when the class is defined, but when the worker is made.
"""

from __future__ import annotations

import ast
import inspect
import sys
import types
import typing
import weakref
from collections.abc import Iterator
from typing import Any, ForwardRef, Literal

from pydantic import BaseModel

from mcai_worker_sdk.errors import WorkerDefinitionError

__all__ = [
    "first_sentence",
    "local_names",
    "own_annotations",
    "remedy_of",
    "remember_local_names",
    "resolved_annotations",
    "shorten",
]

#: Values of the names in the text annotations of a class, taken from the functions in which the class was defined.
_REMEMBERED: weakref.WeakKeyDictionary[type, dict[str, Any]] = weakref.WeakKeyDictionary()

#: What ``__qualname__`` has between the name of a function and that of a class defined in it.
_INSIDE_FUNCTION = ".<locals>."

if sys.version_info >= (3, 14):
    import annotationlib

    def own_annotations(owner: type) -> dict[str, Any]:
        """Annotations of the class alone; a name that is not defined yet is left as a ``ForwardRef``."""
        try:
            return annotationlib.get_annotations(owner, format=annotationlib.Format.FORWARDREF)
        except Exception:  # noqa: BLE001 - an annotation is the author's code; as text it is resolved, or refused by name
            return annotationlib.get_annotations(owner, format=annotationlib.Format.STRING)

    def _as_written(owner: type, name: str, _annotation: Any) -> Any:
        """The annotation for a person to read."""
        return annotationlib.get_annotations(owner, format=annotationlib.Format.STRING)[name]
else:

    def own_annotations(owner: type) -> dict[str, Any]:
        """Annotations of the class alone."""
        return inspect.get_annotations(owner)

    def _as_written(_owner: type, _name: str, annotation: Any) -> Any:
        """The annotation for a person to read."""
        return annotation


def remember_local_names(parameters_class: type, frame: types.FrameType) -> None:
    """
    Keep what the text annotations of a class mean when it is defined inside a function, which may end before its use.

    Args:
        parameters_class: The class that was just defined.
        frame: The frame that defines it.
    """
    visible = _names_of_functions(parameters_class, frame)
    if visible:
        texts = [text for annotation in own_annotations(parameters_class).values() for text in _texts_in(annotation)]
        names = {name for text in texts for name in _names_in(text)} & visible.keys()
        _REMEMBERED[parameters_class] = {name: visible[name] for name in names}


def local_names(parameters_class: type) -> dict[str, Any]:
    """
    What the names of the functions around a class mean: as they stood when the class was defined, and, of those
    functions that have not returned yet, as they stand now.

    Args:
        parameters_class: The class.
    """
    return _REMEMBERED.get(parameters_class, {}) | _names_of_functions(parameters_class, sys._getframe())


def resolved_annotations(parameters_class: type) -> dict[str, Any]:
    """
    Resolve the annotations of a class and its bases, bases first.

    Args:
        parameters_class: The class.

    Raises:
        WorkerDefinitionError: An annotation names what is not defined, or is no type; names class, parameter and name.
    """
    annotations: dict[str, Any] = {}
    for owner in reversed(parameters_class.__mro__):
        if owner is object or owner is BaseModel:
            continue
        own = own_annotations(owner)
        globals_ = getattr(sys.modules.get(owner.__module__), "__dict__", {})
        # A class may name itself wherever it is defined.
        locals_ = {} if owner.__name__ in globals_ else {owner.__name__: owner}
        locals_ |= local_names(owner)
        # A field's own default must not hide the type of the same name (`date: date = None`).
        locals_ |= {name: value for name, value in vars(owner).items() if name not in own}
        for name, annotation in own.items():
            if name.startswith("__"):
                continue
            # A field that is declared again takes the later place.
            annotations.pop(name, None)
            try:
                annotations[name] = _resolve(name, annotation, globals_, locals_)
            except Exception as error:  # the annotation's text is the author's code
                raise WorkerDefinitionError(
                    f"Parameter {name!r} of class {parameters_class.__name__} has the annotation "
                    f"{shorten(_as_written(owner, name, annotation))}; expected a type that can be resolved: "
                    f"{first_sentence(error)} {remedy_of(error) or 'Correct it.'}"
                ) from error
    return annotations


def remedy_of(error: Exception) -> str | None:
    """What to do about a name that an annotation uses and nothing defines; ``None`` for other errors."""
    if isinstance(error, NameError):
        return "Define or import it before the worker is made, not only under TYPE_CHECKING."
    return None


def first_sentence(error: Exception) -> str:
    """The first sentence of what an exception says, or its kind when it says nothing."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0].rstrip(".") + "."


def shorten(value: object, limit: int = 80) -> str:
    """A value as Python writes it, at most ``limit`` characters of it."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _resolve(name: str, annotation: Any, globals_: dict[str, Any], locals_: dict[str, Any]) -> Any:
    holder = type("_Holder", (), {"__annotations__": {name: annotation}})
    return typing.get_type_hints(holder, globals_, locals_, include_extras=True)[name]


def _names_of_functions(parameters_class: type, frame: types.FrameType | None) -> dict[str, Any]:
    """The local names of the functions around a class, of those that run, callers of ``frame``; the innermost win."""
    around = parameters_class.__qualname__.split(_INSIDE_FUNCTION)[:-1]
    functions = {_INSIDE_FUNCTION.join(around[: depth + 1]) for depth in range(len(around))}
    names: dict[str, Any] = {}
    while frame is not None and functions:
        if frame.f_code.co_qualname in functions and frame.f_globals.get("__name__") == parameters_class.__module__:
            functions.discard(frame.f_code.co_qualname)
            names = dict(frame.f_locals) | names
        frame = frame.f_back
    return names


def _texts_in(annotation: Any) -> Iterator[str]:
    """The parts of an annotation that are still text."""
    if isinstance(annotation, str):
        yield annotation
    elif isinstance(annotation, ForwardRef):
        yield annotation.__forward_arg__
    elif typing.get_origin(annotation) is not Literal:
        for part in typing.get_args(annotation):
            yield from _texts_in(part)


def _names_in(text: str) -> Iterator[str]:
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _names_in(node.value)
