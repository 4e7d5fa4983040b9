"""From the bytes of a document to its object model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TypeAlias, TypedDict, TypeVar
from xml.etree.ElementTree import Element

from mcai_worker_sdk.media.ebu_tt.clock import counted_rate
from mcai_worker_sdk.media.ebu_tt.model import (
    Animation,
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
from mcai_worker_sdk.media.ebu_tt.white_space import TextRun, collapse, join_words

__all__ = ["parse_ebu_tt"]

_ID, _LANG, _SPACE = (f"{{{XML}}}{name}" for name in ("id", "lang", "space"))
_TIMES = ("begin", "end", "dur")
_COMMON = frozenset({_ID, _LANG, "style", "region", *_TIMES})
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
    if frame_rate is None:
        # It multiplies the default rate then, and stays what it is.
        known -= {name["multiplier"]}
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
    if not all(part.isascii() and part.isdigit() and 0 < len(part) <= 9 and int(part) for part in multiplier):  # noqa: PLR2004
        raise document_error(f"has frameRateMultiplier {' '.join(multiplier)[:64]!r}", "two whole numbers above 0")
    if not rate:
        return None
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
    return join_words("".join(element.itertext()))


def _styling(element: Element) -> Styling:
    known = frozenset({_ID})
    styles = tuple(Style(id=item.get(_ID), attributes=_others(item, known)) for item in _children(element, "style"))
    return Styling(lang=element.get(_LANG), styles=styles)


def _layout(element: Element) -> Layout:
    return Layout(lang=element.get(_LANG), regions=tuple(_region(item) for item in _children(element, "region")))


def _region(element: Element) -> Region:
    nested = _children(element, "style")
    # Styles within the region go before those it refers to, and what stands on the region itself before both.
    attributes: dict[str, str] = {}
    for inline in nested:
        attributes.update(_others(inline, frozenset({_ID, "style"})))
    attributes.update(_others(element, frozenset({_ID, "style", *_TIMES})))
    styles = [references for item in (element, *nested) if (references := item.get("style")) is not None]
    return Region(
        id=element.get(_ID),
        style=" ".join(styles) if styles else None,
        begin=_time(element, "begin"),
        end=_time(element, "end"),
        duration=_time(element, "dur"),
        animations=_animations(element),
        attributes=attributes,
    )


def _body(element: Element, *, keep_space: bool) -> Body:
    keep_space = _keeps_space(element, keep_space=keep_space)
    divs = tuple(_div(child, keep_space=keep_space) for child in _children(element, "div"))
    return Body(divs=divs, **_common(element))


def _div(element: Element, *, keep_space: bool) -> Div:
    keep_space = _keeps_space(element, keep_space=keep_space)
    paragraphs: list[Paragraph] = []
    divs: list[Div] = []
    before_divs: list[int] = []
    for child in element:
        if _is_tt(child, "p"):
            paragraphs.append(_paragraph(child, keep_space=keep_space))
        elif _is_tt(child, "div"):
            before_divs.append(len(paragraphs))
            divs.append(_div(child, keep_space=keep_space))
    # Most often no paragraph follows a group: nothing need be said then.
    while before_divs and before_divs[-1] == len(paragraphs):
        before_divs.pop()
    return Div(
        paragraphs=tuple(paragraphs),
        divs=tuple(divs),
        paragraphs_before_divs=tuple(before_divs),
        **_common(element),
    )


#: What a paragraph holds, while its white space is not collapsed yet: an element stands with its own content.
_Draft: TypeAlias = "TextRun | tuple[Element, list[_Draft]] | None"


def _paragraph(element: Element, *, keep_space: bool) -> Paragraph:
    drafts = _drafts(element, keep_space=_keeps_space(element, keep_space=keep_space))
    collapse(list(_runs(drafts)))
    content = tuple(Span(content=(part,)) if isinstance(part, str) else part for part in _content(drafts))
    return Paragraph(content=content, **_common(element))


def _drafts(element: Element, *, keep_space: bool) -> list[_Draft]:
    drafts: list[_Draft] = []
    text = element.text or ""
    for child in element:
        is_break = _is_tt(child, "br")
        if is_break or _is_tt(child, "span"):
            drafts.append(TextRun(text, keep_space))
            drafts.append(
                None if is_break else (child, _drafts(child, keep_space=_keeps_space(child, keep_space=keep_space)))
            )
            text = ""
        text += child.tail or ""
    drafts.append(TextRun(text, keep_space))
    return drafts


def _runs(drafts: list[_Draft]) -> Iterator[TextRun | None]:
    for draft in drafts:
        if isinstance(draft, tuple):
            yield from _runs(draft[1])
        else:
            yield draft


def _content(drafts: list[_Draft]) -> Iterator[Content]:
    for draft in drafts:
        if draft is None:
            yield Break()
        elif isinstance(draft, tuple):
            yield Span(content=tuple(_content(draft[1])), **_common(draft[0]))
        elif draft.text:
            yield draft.text


def _keeps_space(element: Element, *, keep_space: bool) -> bool:
    value = element.get(_SPACE)
    return keep_space if value is None else value == "preserve"


class _Common(TypedDict):
    id: str | None
    lang: str | None
    style: str | None
    region: str | None
    begin: TimeExpression | None
    end: TimeExpression | None
    duration: TimeExpression | None
    animations: tuple[Animation, ...]
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
        "animations": _animations(element),
        "attributes": _others(element, _COMMON),
    }


def _animations(element: Element) -> tuple[Animation, ...]:
    return tuple(
        Animation(
            begin=_time(item, "begin"),
            end=_time(item, "end"),
            duration=_time(item, "dur"),
            attributes=_others(item, frozenset(_TIMES)),
        )
        for item in _children(element, "set")
    )


def _time(element: Element, name: str) -> TimeExpression | None:
    text = element.get(name)
    return None if text is None else TimeExpression.parse(text)
