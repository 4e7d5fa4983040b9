"""From the bytes of a document to its object model."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TypedDict, TypeVar
from xml.etree.ElementTree import Element

from mcai_worker_sdk.media.ebu_tt.clock import counted_rate
from mcai_worker_sdk.media.ebu_tt.model import (
    Body,
    Break,
    Content,
    Div,
    EbuTtDocument,
    Head,
    Layout,
    Metadata,
    Paragraph,
    Region,
    Span,
    Style,
    Styling,
    Title,
)
from mcai_worker_sdk.media.ebu_tt.names import EBUTTP, TT_NAMESPACES, TTM, TTP, XML, local_name
from mcai_worker_sdk.media.ebu_tt.times import TimeExpression
from mcai_worker_sdk.media.ebu_tt.tree import document_error, read_tree

__all__ = ["parse_ebu_tt"]

_ID, _LANG, _SPACE = (f"{{{XML}}}{name}" for name in ("id", "lang", "space"))
_COMMON = frozenset({_ID, _LANG, "style", "region", "begin", "end", "dur"})
_DOCUMENT_NAMES = {
    "sequence_identifier": f"{{{EBUTTP}}}sequenceIdentifier",
    "sequence_number": f"{{{EBUTTP}}}sequenceNumber",
    "clock_mode": f"{{{TTP}}}clockMode",
    "time_base": f"{{{TTP}}}timeBase",
    "frame_rate": f"{{{TTP}}}frameRate",
    "multiplier": f"{{{TTP}}}frameRateMultiplier",
    "tick_rate": f"{{{TTP}}}tickRate",
}
_SUB_FRAME_RATE = f"{{{TTP}}}subFrameRate"

_T = TypeVar("_T")


def parse_ebu_tt(document: bytes | str) -> EbuTtDocument:
    """
    Read one TTML, EBU-TT or EBU-TT Live document.

    A document type, entities and external references are refused: TTML needs none, and they are how XML attacks.
    Elements of other namespaces (metadata, mostly) are passed over. Names of TTML's drafts become those of TTML.

    Args:
        document: The whole document; bytes in the encoding it declares.

    Raises:
        MediaSourceError: It is not well-formed, too large, too deep, no TTML, or holds a value out of form; the text
            says which and where.
    """
    root = read_tree(document)
    if local_name(root.tag) != "tt" or root.tag.rpartition("}")[0].lstrip("{") not in TT_NAMESPACES:
        raise document_error(f"begins with the element {local_name(root.tag)[:64]!r}", "'tt' of TTML")
    name = _DOCUMENT_NAMES
    # Kept among the other attributes, as the text it is.
    _positive(root, _SUB_FRAME_RATE)
    frame_rate = _frame_rate(root)
    known = frozenset(name.values()) | {_LANG}
    head, body = _child(root, "head"), _child(root, "body")
    return EbuTtDocument(
        language=root.get(_LANG),
        sequence_identifier=root.get(name["sequence_identifier"]),
        sequence_number=_positive(root, name["sequence_number"]),
        clock_mode=root.get(name["clock_mode"]),
        time_base=root.get(name["time_base"]),
        frame_rate=frame_rate,
        time_code_rate=_time_code_rate(root, frame_rate),
        tick_rate=None if (ticks := _positive(root, name["tick_rate"])) is None else Fraction(ticks),
        head=Head() if head is None else _head(head),
        body=Body() if body is None else _body(body, keep_space=root.get(_SPACE) == "preserve"),
        attributes=_others(root, known),
    )


def _positive(element: Element, name: str) -> int | None:
    text = element.get(name)
    if text is None:
        return None
    if not (text.strip().isascii() and text.strip().isdigit() and len(text) <= 20):  # noqa: PLR2004 - 64 bits
        raise document_error(f"has {local_name(name)} {text[:64]!r}", "a whole number")
    return int(text)


def _frame_rate(root: Element) -> Fraction | None:
    rate = _positive(root, _DOCUMENT_NAMES["frame_rate"])
    multiplier = root.get(_DOCUMENT_NAMES["multiplier"], "1 1").replace(":", " ").split()
    if not rate:
        return None
    if not all(part.isascii() and part.isdigit() and 0 < len(part) <= 9 and int(part) for part in multiplier):  # noqa: PLR2004
        raise document_error(f"has frameRateMultiplier {' '.join(multiplier)[:64]!r}", "two whole numbers above 0")
    numerator, denominator = (int(part) for part in (*multiplier, "1")[:2])
    return Fraction(rate * numerator, denominator)


def _time_code_rate(root: Element, frame_rate: Fraction | None) -> int | None:
    rate = _positive(root, _DOCUMENT_NAMES["frame_rate"])
    return None if frame_rate is None or rate == counted_rate(frame_rate) else rate


def _others(element: Element, known: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in element.attrib.items() if name not in known}


def _is_tt(element: Element, name: str) -> bool:
    namespace, _, local = element.tag.rpartition("}")
    return local == name and namespace.lstrip("{") in TT_NAMESPACES


def _children(element: Element, name: str) -> list[Element]:
    return [child for child in element if _is_tt(child, name)]


def _child(element: Element, name: str) -> Element | None:
    return next(iter(_children(element, name)), None)


def _optional(element: Element | None, read: Callable[[Element], _T]) -> _T | None:
    return None if element is None else read(element)


def _head(element: Element) -> Head:
    return Head(
        metadata=_metadata(element),
        styling=_optional(_child(element, "styling"), _styling),
        layout=_optional(_child(element, "layout"), _layout),
    )


def _metadata(head: Element) -> Metadata | None:
    """``ttm:`` elements may stand in the head itself or in its ``metadata``."""
    wrapper = _child(head, "metadata")
    elements = [*head, *(() if wrapper is None else wrapper)]
    found = {local_name(item.tag): item for item in reversed(elements) if item.tag.startswith(f"{{{TTM}}}")}
    if wrapper is None and not found:
        return None
    title, agent, actor = found.get("title"), found.get("agent"), found.get("actor")
    return Metadata(
        title=None if title is None else Title(_all_text(title), title.get(_ID), title.get(_LANG)),
        desc=_optional(found.get("desc"), _all_text),
        copyright=_optional(found.get("copyright"), _all_text),
        agent=_optional(agent, _all_text),
        actor=None if actor is None else actor.get("agent") or _all_text(actor),
    )


def _all_text(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _styling(element: Element) -> Styling:
    known = frozenset({_ID})
    styles = tuple(Style(id=item.get(_ID), attributes=_others(item, known)) for item in _children(element, "style"))
    return Styling(lang=element.get(_LANG), styles=styles)


def _layout(element: Element) -> Layout:
    return Layout(lang=element.get(_LANG), regions=tuple(_region(item) for item in _children(element, "region")))


def _region(element: Element) -> Region:
    attributes = _others(element, frozenset({_ID, "style"}))
    for inline in _children(element, "style"):
        attributes.update(_others(inline, frozenset({_ID})))
    return Region(id=element.get(_ID), style=element.get("style"), attributes=attributes)


def _body(element: Element, *, keep_space: bool) -> Body:
    keep_space = _keeps_space(element, keep_space=keep_space)
    divs = tuple(_div(child, keep_space=keep_space) for child in _children(element, "div"))
    return Body(divs=divs, **_common(element))


def _div(element: Element, *, keep_space: bool) -> Div:
    keep_space = _keeps_space(element, keep_space=keep_space)
    return Div(
        paragraphs=tuple(_paragraph(child, keep_space=keep_space) for child in _children(element, "p")),
        divs=tuple(_div(child, keep_space=keep_space) for child in _children(element, "div")),
        **_common(element),
    )


def _paragraph(element: Element, *, keep_space: bool) -> Paragraph:
    keep_space = _keeps_space(element, keep_space=keep_space)
    content = _trim(_content(element, keep_space=keep_space), keep_space=keep_space)
    spans = tuple(Span(content=(part,)) if isinstance(part, str) else part for part in content)
    return Paragraph(content=spans, **_common(element))


def _content(element: Element, *, keep_space: bool) -> list[Content]:
    parts: list[Content] = []
    text = element.text or ""
    for child in element:
        is_break = _is_tt(child, "br")
        if is_break or _is_tt(child, "span"):
            parts.append(_space(text, keep_space=keep_space))
            parts.append(Break() if is_break else _span(child, keep_space=keep_space))
            text = ""
        text += child.tail or ""
    parts.append(_space(text, keep_space=keep_space))
    return [part for part in parts if part != ""]


def _span(element: Element, *, keep_space: bool) -> Span:
    content = _content(element, keep_space=_keeps_space(element, keep_space=keep_space))
    return Span(content=tuple(content), **_common(element))


def _keeps_space(element: Element, *, keep_space: bool) -> bool:
    value = element.get(_SPACE)
    return keep_space if value is None else value == "preserve"


def _space(text: str, *, keep_space: bool) -> str:
    """Text with its runs of blanks made one, as ``xml:space="default"`` wants."""
    if keep_space:
        return text
    collapsed = " ".join(text.split())
    if not collapsed:
        return " " if text else ""
    return f"{' ' if text[0].isspace() else ''}{collapsed}{' ' if text[-1].isspace() else ''}"


def _trim(parts: list[Content], *, keep_space: bool) -> list[Content]:
    """Drop the blanks of the source's lines: at the ends of the paragraph and beside its line breaks."""
    if keep_space:
        return parts
    trimmed: list[Content] = []
    for index, part in enumerate(parts):
        if not isinstance(part, str):
            trimmed.append(part)
            continue
        text = part
        if index == 0 or isinstance(parts[index - 1], Break):
            text = text.lstrip()
        if index == len(parts) - 1 or isinstance(parts[index + 1], Break):
            text = text.rstrip()
        if text:
            trimmed.append(text)
    return trimmed


class _Common(TypedDict):
    id: str | None
    lang: str | None
    style: str | None
    region: str | None
    begin: TimeExpression | None
    end: TimeExpression | None
    duration: TimeExpression | None
    attributes: dict[str, str]


def _common(element: Element) -> _Common:
    return {
        "id": element.get(_ID),
        "lang": element.get(_LANG),
        "style": element.get("style"),
        "region": element.get("region"),
        "begin": _time(element, "begin"),
        "end": _time(element, "end"),
        "duration": _time(element, "dur"),
        "attributes": _others(element, _COMMON),
    }


def _time(element: Element, name: str) -> TimeExpression | None:
    text = element.get(name)
    return None if text is None else TimeExpression.parse(text)
