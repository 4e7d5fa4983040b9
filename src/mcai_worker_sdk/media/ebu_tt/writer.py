"""From the object model of a document to its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from xml.etree.ElementTree import Element, SubElement, tostring

from mcai_worker_sdk.media.ebu_tt.clock import counted_rate
from mcai_worker_sdk.media.ebu_tt.model import (
    Animation,
    Body,
    Break,
    Content,
    Div,
    EbuTtDocument,
    Head,
    Metadata,
    Paragraph,
    Region,
    Span,
)
from mcai_worker_sdk.media.ebu_tt.names import EBUTTP, PREFIXES, TT, TTM, TTP, XML

__all__ = ["paragraph_to_xml", "to_xml"]


def to_xml(document: EbuTtDocument) -> bytes:
    """
    Write a document as UTF-8 XML, with the usual prefixes.

    What :func:`parse_ebu_tt` reads from the result equals ``document``. What the model does not hold (metadata of other
    namespaces) is not written.
    """
    writer = _Writer()
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + writer.finish(writer.document(document)).encode()


def paragraph_to_xml(paragraph: Paragraph) -> str:
    """Write one paragraph as an XML element that stands by itself."""
    writer = _Writer()
    return writer.finish(writer.paragraph(paragraph))


class _Writer:
    """Builds elements whose names already carry their prefixes, and remembers which prefixes were used."""

    def __init__(self) -> None:
        self.used: dict[str, str] = {TT: PREFIXES[TT]}

    def document(self, document: EbuTtDocument) -> Element:
        """The element ``tt`` with all in it."""
        root = Element(self._name(f"{{{TT}}}tt"))
        rate = document.frame_rate
        counted = None if rate is None else document.time_code_rate or counted_rate(rate)
        values = {
            f"{{{XML}}}lang": document.language,
            f"{{{EBUTTP}}}sequenceIdentifier": document.sequence_identifier,
            f"{{{EBUTTP}}}sequenceNumber": document.sequence_number,
            f"{{{TTP}}}clockMode": document.clock_mode,
            f"{{{TTP}}}timeBase": document.time_base,
            f"{{{TTP}}}frameRate": counted,
            f"{{{TTP}}}frameRateMultiplier": _multiplier(rate, counted),
            f"{{{TTP}}}tickRate": document.tick_rate,
        }
        self._attributes(root, values, document.attributes)
        self._head(root, document.head)
        self._body(root, document.body)
        return root

    def paragraph(self, paragraph: Paragraph) -> Element:
        """The element ``p`` with its text."""
        element = self._common(Element(self._name(f"{{{TT}}}p")), paragraph)
        self._content(element, paragraph.content)
        return element

    def finish(self, root: Element) -> str:
        """The XML of an element, with the prefixes declared that were used."""
        for namespace, prefix in sorted(self.used.items(), key=lambda item: item[1]):
            if namespace != XML:
                root.set(f"xmlns:{prefix}", namespace)
        text: str = tostring(root, encoding="unicode")
        # A reader takes a carriage return that stands there as such for a line feed.
        return text.replace("\r", "&#13;")

    def _name(self, name: str) -> str:
        namespace, _, local = name.rpartition("}")
        namespace = namespace.lstrip("{")
        if not namespace:
            return local
        prefix = self.used.setdefault(namespace, PREFIXES.get(namespace, f"ns{len(self.used)}"))
        return f"{prefix}:{local}"

    def _attributes(self, element: Element, values: Mapping[str, object], others: Mapping[str, str]) -> None:
        for name, value in (*values.items(), *others.items()):
            if value is not None:
                element.set(self._name(name), str(value))

    def _add(self, parent: Element, name: str, namespace: str = TT) -> Element:
        return SubElement(parent, self._name(f"{{{namespace}}}{name}"))

    def _common(self, element: Element, source: Body | Div | Paragraph | Span) -> Element:
        values = {
            f"{{{XML}}}id": source.id,
            f"{{{XML}}}lang": source.lang,
            "style": source.style,
            "region": source.region,
            **_times(source),
        }
        self._attributes(element, values, source.attributes)
        self._animations(element, source.animations)
        return element

    def _animations(self, parent: Element, animations: tuple[Animation, ...]) -> None:
        for animation in animations:
            self._attributes(self._add(parent, "set"), _times(animation), animation.attributes)

    def _head(self, root: Element, head: Head) -> None:
        element = self._add(root, "head")
        if head.metadata is not None:
            self._metadata(self._add(element, "metadata"), head.metadata)
        if head.styling is not None:
            styling = self._add(element, "styling")
            self._attributes(styling, {f"{{{XML}}}lang": head.styling.lang}, {})
            for style in head.styling.styles:
                self._attributes(self._add(styling, "style"), {f"{{{XML}}}id": style.id}, style.attributes)
        if head.layout is not None:
            layout = self._add(element, "layout")
            self._attributes(layout, {f"{{{XML}}}lang": head.layout.lang}, {})
            for region in head.layout.regions:
                values = {f"{{{XML}}}id": region.id, "style": region.style, **_times(region)}
                added = self._add(layout, "region")
                self._attributes(added, values, region.attributes)
                self._animations(added, region.animations)

    def _metadata(self, parent: Element, metadata: Metadata) -> None:
        if metadata.title is not None:
            title = self._add(parent, "title", TTM)
            self._attributes(title, {f"{{{XML}}}id": metadata.title.id, f"{{{XML}}}lang": metadata.title.lang}, {})
            title.text = metadata.title.content
        for name in ("desc", "copyright", "agent", "actor"):
            text: str | None = getattr(metadata, name)
            if text is not None:
                self._add(parent, name, TTM).text = text

    def _body(self, root: Element, body: Body) -> None:
        element = self._common(self._add(root, "body"), body)
        for div in body.divs:
            self._div(element, div)

    def _div(self, parent: Element, div: Div) -> None:
        element = self._common(self._add(parent, "div"), div)
        for child in div.children:
            if isinstance(child, Paragraph):
                element.append(self.paragraph(child))
            else:
                self._div(element, child)

    def _content(self, element: Element, content: tuple[Content, ...]) -> None:
        # Behind the animations, which stand first.
        last: Element | None = element[-1] if len(element) else None
        for part in content:
            if isinstance(part, str):
                if last is None:
                    element.text = (element.text or "") + part
                else:
                    last.tail = (last.tail or "") + part
            elif isinstance(part, Break):
                last = self._add(element, "br")
            else:
                last = self._common(self._add(element, "span"), part)
                self._content(last, part.content)


def _times(source: Body | Div | Paragraph | Span | Region | Animation) -> dict[str, object]:
    return {"begin": source.begin, "end": source.end, "dur": source.duration}


def _multiplier(rate: Fraction | None, counted: int | None) -> str | None:
    if rate is None or not counted or rate == counted:
        return None
    multiplier = rate / counted
    return f"{multiplier.numerator} {multiplier.denominator}"
