"""One result of ``process_frames`` as bytes."""

from __future__ import annotations

import json
import re
from numbers import Real
from typing import Any

from mcai_worker_sdk.errors import ResultError

__all__ = ["encode_result", "is_xml_document"]

#: How much of a result is looked at to tell whether it is XML.
_XML_HEAD = 256
_XML_DOCUMENT = re.compile(r"[\ufeff\s]*<(\?xml\s|([A-Za-z_][\w.-]*:)?tt[\s>])")


def is_xml_document(result: object) -> bool:
    """True for text or bytes that begin with an XML declaration, or with the root element of a TTML document."""
    if isinstance(result, bytes):
        result = result[:_XML_HEAD].decode("utf-8", errors="replace")
    return isinstance(result, str) and _XML_DOCUMENT.match(result[:_XML_HEAD]) is not None


def encode_result(result: object) -> bytes:
    """
    One result in UTF-8: an XML document as it is, anything else as JSON.

    numpy's numbers and arrays (anything with ``tolist``) become numbers and lists; ``nan`` and infinities, which JSON
    does not have, become ``null``.

    Raises:
        ResultError: The result holds a value JSON cannot express, or is XML that is no text.
    """
    if is_xml_document(result):
        return _encode_xml(result)
    try:
        try:
            text = json.dumps(result, default=_plain_value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        except (TypeError, ValueError):
            text = json.dumps(_plain(result), ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise ResultError(
            "The result of process_frames is nested too deep, or holds itself; expected a value JSON can express. "
            "Return a flatter one."
        ) from None
    return text.encode("utf-8", errors="backslashreplace")


def _encode_xml(document: object) -> bytes:
    if isinstance(document, bytes):
        return document
    try:
        return str(document).encode()
    except UnicodeEncodeError as error:
        raise ResultError(
            f"The XML document that process_frames returned has no UTF-8 form: {error.reason} at character "
            f"{error.start}; expected text without lone surrogates. Replace them before returning it."
        ) from None


def _plain_value(value: object) -> object:
    to_list = getattr(value, "tolist", None)
    if to_list is None or isinstance(value, type):
        raise TypeError
    plain = to_list()
    if type(plain) is type(value):
        # numpy has no plain form of its long double.
        raise TypeError
    return plain


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if value - value == 0 else None
    if isinstance(value, dict):
        return {_plain_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    to_list = getattr(value, "tolist", None)
    if to_list is not None and not isinstance(value, type):
        plain = to_list()
        if type(plain) is not type(value):
            return _plain(plain)
        if isinstance(plain, Real):
            return _plain(float(plain))
    raise ResultError(
        f"The result of process_frames holds a value of type {type(value).__name__}; expected a dict, a list, text, a "
        "number, a truth value, None or a numpy array. Convert it before returning it."
    )


def _plain_key(key: object) -> str | int | float | bool | None:
    plain = _plain(key)
    if isinstance(plain, str | int | float | None):
        return plain
    raise ResultError(
        f"The result of process_frames has a dict with a key of type {type(key).__name__}; expected text or a number. "
        "Convert it before returning it."
    )
