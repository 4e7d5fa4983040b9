"""
What ``process`` returned, made into the parts of a job's result.

What the reference published is published; what it dropped in silence is named in a warning;
what made it crash or hang is a :class:`~mcai_worker_sdk.errors.ResultError`.
"""

from __future__ import annotations

import enum
import inspect
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, TypeAlias

from mcai_worker_sdk.errors import ResultError
from mcai_worker_sdk.protocol.responses import ResultParameter

__all__ = ["ProcessResult", "read_result"]

#: Deepest nesting of a value, in containers; JSON readers on the way stop at 200.
MAX_DEPTH = 100

#: Largest integer, in bits: what Python's own JSON writer can write (4300 digits).
MAX_INTEGER_BITS = 14_000

#: Longest text of an integer, in characters.
MAX_INTEGER_TEXT = 4_200

_INTEGER_TEXT = re.compile(r"\s*[+-]?[0-9]+\s*")
_RESULT_KEYS = ("destination_paths", "parameters")
_PARAMETER_KEYS = ("id", "kind", "type", "value", "store", "default")
_EXAMPLE = '{"id": "name", "kind": "string", "value": "text"}'
_REMEDY = "Correct what process returns."


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """What of a returned object goes into the job's result."""

    destination_paths: tuple[str, ...] = ()
    """Paths of what the job wrote, in the order they were returned."""
    parameters: tuple[ResultParameter, ...] = ()
    """Published parameters; their values are plain JSON."""
    warnings: tuple[str, ...] = ()
    """One sentence, with the job id, for each thing that is not published or not as it was returned."""


def read_result(job_id: int, returned: object) -> ProcessResult:
    """
    Read what ``process`` returned.

    Args:
        job_id: The job; named in warnings and errors.
        returned: ``None`` or a dict with ``destination_paths`` (list of paths) and ``parameters`` (list of dicts with
            ``id``, ``kind`` (or ``type``), ``value`` and, if wanted, ``store``, ``default``). Other keys are warned of.

    Raises:
        ResultError: A value does not fit its kind or is not JSON; names every such entry, its kind and its value.
    """
    if returned is None:
        return ProcessResult()
    if not isinstance(returned, Mapping):
        return ProcessResult(warnings=(_describe_non_dict(job_id, returned),))
    reader = _Reader(job_id)
    reader.check_keys("the result", returned, _RESULT_KEYS)
    paths = tuple(reader.read_paths(returned.get("destination_paths")))
    parameters = tuple(reader.read_parameters(returned.get("parameters")))
    if reader.faults:
        raise ResultError(" ".join([f"Job {job_id} has no result.", *reader.faults, _REMEDY]))
    return ProcessResult(paths, parameters, tuple(reader.warnings))


def _describe_non_dict(job_id: int, returned: object) -> str:
    shown = _show(returned)
    advice = ""
    if inspect.iscoroutine(returned):
        # Closing it keeps Python from a second, less clear warning.
        returned.close()
        advice = " Make process a plain function: call asyncio.run() in it."
    return f"Job {job_id}: process returned {shown}; expected a dict or None. Nothing of it is published.{advice}"


class _Reader:
    """Reads the parts of one returned dict; collects what is left out and what is wrong."""

    def __init__(self, job_id: int) -> None:
        self._job_id = job_id
        self.warnings: list[str] = []
        self.faults: list[str] = []

    def check_keys(self, place: str, content: Mapping[Any, Any], known: Sequence[str]) -> None:
        """Tell of what is not read, with the key that may have been meant."""
        for key in content:
            if key not in known:
                advice = f" Write {nearest}." if (nearest := _nearest(key, known)) else ""
                self._warn(
                    f"{place} has the unknown key {_show(key)}; expected {', '.join(known)}. "
                    f"It is not published.{advice}"
                )

    def read_paths(self, paths: object) -> Iterator[str]:
        """The paths that can be published."""
        if paths is None:
            return
        if not isinstance(paths, list | tuple):
            self._warn(f"destination_paths is {_show(paths)}; expected a list of strings. No path is published.")
            return
        for index, path in enumerate(paths):
            text = _path_text(path)
            if text is None:
                self._warn(f"destination_paths[{index}] is {_show(path)}; expected a string. It is not published.")
                continue
            published = text.encode(errors="replace").decode()
            if published != text:
                self._warn(
                    f"destination_paths[{index}] is {_show(text)}, which is not Unicode text; "
                    f"it is published as {_show(published)}."
                )
            yield published

    def read_parameters(self, parameters: object) -> Iterator[ResultParameter]:
        """The entries that can be published; a value that does not fit its kind becomes a fault."""
        if parameters is None:
            return
        if not isinstance(parameters, list | tuple):
            self._warn(f"parameters is {_show(parameters)}; expected a list of dicts. No parameter is published.")
            return
        for index, entry in enumerate(parameters):
            parameter = self._read_parameter(f"parameters[{index}]", entry)
            if parameter is not None:
                yield parameter

    def _read_parameter(self, place: str, entry: object) -> ResultParameter | None:
        if not isinstance(entry, Mapping):
            self._warn(f"{place} is {_show(entry)}; expected a dict such as {_EXAMPLE}. It is not published.")
            return None
        self.check_keys(place, entry, _PARAMETER_KEYS)
        kind = entry.get("kind", entry.get("type"))
        missing = [name for name, absent in (("id", "id" not in entry), ("kind", kind is None)) if absent]
        if missing:
            self._warn(f"{place} has no {' and no '.join(missing)}: {_show(entry)}. It is not published.")
            return None
        kind = str(kind.value if isinstance(kind, enum.Enum) else kind)
        id_ = str(entry["id"])
        store = entry.get("store")
        if kind not in _READERS and kind not in _JSON_KINDS:
            self._warn(f"Result parameter {id_!r} has the unknown kind {kind!r}; its value is published as it is.")
        return ResultParameter(
            id=id_,
            type=kind,
            value=self._read_value(id_, kind, entry, "value"),
            store=None if store is None else str(store),
            default=None if entry.get("default") is None else self._read_value(id_, kind, entry, "default"),
        )

    def _read_value(self, id_: str, kind: str, entry: Mapping[Any, Any], key: str) -> Any:
        if key not in entry:
            return None
        value = entry[key]
        try:
            plain, left_out = _READERS.get(kind, _read_json)(_unboxed(value))
            _check_text(plain)
        except _UnfitError as error:
            noun = "Result parameter" if key == "value" else "The default of result parameter"
            self.faults.append(f"{noun} {id_!r} of kind {kind!r} is {_show(value)}; expected {error}.")
            return None
        if left_out:
            self._warn(
                f"Result parameter {id_!r} of kind {kind!r} has a {key} that does not fit; "
                f"left out: {', '.join(_show(item) for item in left_out[:3])}{', ...' if len(left_out) > 3 else ''}."  # noqa: PLR2004 - enough to see what is meant
            )
        return plain

    def _warn(self, text: str) -> None:
        self.warnings.append(f"Job {self._job_id}: {text}")


def _nearest(key: object, known: Sequence[str]) -> str | None:
    # Here, not at the top: most jobs return what is known.
    import difflib

    return next(iter(difflib.get_close_matches(str(key), known, n=1)), None)


class _UnfitError(Exception):
    """A value does not fit; the text is what was expected instead."""


#: A plain value, and what of the returned one is not in it.
_Reading: TypeAlias = tuple[Any, list[Any]]


def _read_boolean(value: Any) -> _Reading:
    if value is None or isinstance(value, bool):
        return value, []
    if value in ("true", "false"):
        return value == "true", []
    raise _UnfitError('True, False, "true" or "false"')


def _read_integer(value: Any) -> _Reading:
    return (None if value is None else _integer(value)), []


def _read_float(value: Any) -> _Reading:
    return (None if value is None else _float(value)), []


def _read_string(value: Any) -> _Reading:
    try:
        # As the reference: whatever it is, its text.
        return str(value), []
    except Exception as error:
        raise _UnfitError(f"a value with a text (str() raises {type(error).__name__})") from error


def _read_object(value: Any) -> _Reading:
    if value is not None and not isinstance(value, Mapping):
        raise _UnfitError("a dict")
    return _plain(value), []


def _read_json(value: Any) -> _Reading:
    return _plain(value), []


def _array_of(noun: str, read_item: Callable[[Any], Any]) -> Callable[[Any], _Reading]:
    def read(value: Any) -> _Reading:
        """Read the list item by item; what does not fit is left out and told."""
        if value is None:
            return None, []
        if isinstance(value, str | bytes):
            raise _UnfitError(f"a list of {noun}, not one text")
        if not isinstance(value, Iterable):
            return None, [value]
        items: list[Any] = []
        left_out: list[Any] = []
        for item in map(_unboxed, value):
            try:
                items.append(read_item(item))
            except _UnfitError:
                if isinstance(item, bool):
                    raise _UnfitError(f"a list of {noun}, without {item}") from None
                left_out.append(item)
        return items, left_out

    return read


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    raise _UnfitError("a string")


def _integer(value: Any) -> int:
    written = isinstance(value, str) and len(value) < MAX_INTEGER_TEXT and _INTEGER_TEXT.fullmatch(value)
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if written or whole or (isinstance(value, float) and value.is_integer()):
        number = int(value)
        if number.bit_length() <= MAX_INTEGER_BITS:
            return number
    raise _UnfitError("an integer")


def _float(value: Any) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        return _integer(value)
    if isinstance(value, bool) or not isinstance(value, Real | str):
        raise _UnfitError("a finite number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _UnfitError("a finite number")
    return number


_read_integers = _array_of("integers", _integer)
_read_strings = _array_of("strings", _text)

#: How the value of each kind is read. Kinds of the reference, and of StepFlow's job parameters.
_READERS: Mapping[str, Callable[[Any], _Reading]] = {
    "array_of_floats": _array_of("numbers", _float),
    "array_of_integers": _read_integers,
    "array_of_ints": _read_integers,
    "array_of_strings": _read_strings,
    "array_of_templates": _read_strings,
    "boolean": _read_boolean,
    "credential": _read_string,
    "float": _read_float,
    "int": _read_integer,
    "integer": _read_integer,
    "number": _read_float,
    "object": _read_object,
    "requirements": _read_object,
    "string": _read_string,
    "template": _read_string,
}

#: Other kinds StepFlow knows: any JSON value.
_JSON_KINDS = frozenset({"array_of_media_segments", "extended", "filter", "select_input"})


def _unboxed(value: Any) -> Any:
    """A numpy scalar or array (or a tensor) as Python's own objects."""
    if isinstance(value, type) or not callable(getattr(value, "tolist", None)):
        return value
    return value.tolist()


def _plain(value: Any, depth: int = 0) -> Any:
    """The value with only JSON's own types in it."""
    if depth > MAX_DEPTH:
        raise _UnfitError(f"a JSON value of at most {MAX_DEPTH} levels")
    value = _unboxed(value)
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Mapping):
        return {_plain_key(key): _plain(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, depth + 1) for part in value]
    raise _UnfitError(f"a JSON value, without a {type(value).__name__}")


def _plain_key(key: Any) -> str:
    if isinstance(key, str):
        return str(key)
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise _UnfitError("a JSON value, with strings as keys")


def _check_text(plain: Any) -> None:
    try:
        json.dumps(plain, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _UnfitError("Unicode text, without a lone surrogate") from None


def _path_text(path: object) -> str | None:
    if isinstance(path, str):
        return str(path)
    return os.fsdecode(path) if isinstance(path, os.PathLike) else None


def _show(value: object, limit: int = 80) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - the author's __repr__ may raise anything
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= limit else text[: limit - 3] + "..."
