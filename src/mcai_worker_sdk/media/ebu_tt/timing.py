"""When each piece of text is shown: the times of elements within elements, resolved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeAlias, TypeVar

from mcai_worker_sdk.media.ebu_tt.clock import DocumentClock
from mcai_worker_sdk.media.ebu_tt.model import Body, Break, Content, Div, EbuTtDocument, Paragraph, Span

__all__ = ["TimedText", "timed_texts"]


@dataclass(frozen=True, slots=True)
class TimedText:
    """A piece of text and when it is shown, on the document's own time base."""

    start_seconds: float
    """First moment; 0 when the document does not say."""
    end_seconds: float | None
    """First moment after it; ``None`` when the document does not say."""
    text: str
    """The text; a line break is a newline."""
    paragraph: Paragraph
    """The paragraph it stands in."""


def timed_texts(document: EbuTtDocument) -> Iterator[TimedText]:
    """
    The texts of a document in its order: one for each paragraph, several where its spans have times of their own.

    Times of an element count from the begin of the element around it and end with it; within an element of
    ``timeContainer="seq"`` they count from the end of the one before. Source: W3C TTML 1, section 10.
    """
    resolver = _Resolver(document)
    body = resolver.interval(document.body, (0.0, inf))
    for div, interval in resolver.shown(document.body, document.body.divs, body):
        yield from resolver.div(div, interval)


_Interval: TypeAlias = tuple[float, float]
_Timed: TypeAlias = Body | Div | Paragraph | Span
_Child = TypeVar("_Child", bound="_Timed | Content")


class _Resolver:
    def __init__(self, document: EbuTtDocument) -> None:
        self._clock = DocumentClock(document)

    def interval(self, element: _Timed | Content, around: _Interval) -> _Interval:
        """Begin and end of an element in seconds, from those of the element around it."""
        if isinstance(element, str | Break):
            return around
        start = around[0] + self._seconds(element, "begin", 0.0)
        end = min(
            around[0] + self._seconds(element, "end", inf),
            start + self._seconds(element, "duration", inf),
            around[1],
        )
        return start, max(start, end)

    def shown(
        self, parent: _Timed, children: Sequence[_Child], around: _Interval
    ) -> Iterator[tuple[_Child, _Interval]]:
        """The children of an element with their intervals, without those a sequence never comes to."""
        for child, (start, end) in self._intervals(parent, children, around):
            if start < end or not _is_sequence(parent):
                yield child, (start, end)

    def div(self, div: Div, interval: _Interval) -> Iterator[TimedText]:
        """The texts of a group."""
        children: tuple[Paragraph | Div, ...] = (*div.paragraphs, *div.divs)
        for child, inner in self.shown(div, children, interval):
            yield from self._paragraph(child, inner) if isinstance(child, Paragraph) else self.div(child, inner)

    def _paragraph(self, paragraph: Paragraph, interval: _Interval) -> Iterator[TimedText]:
        pieces: list[tuple[_Interval, str]] = []
        for part, inner in self.shown(paragraph, paragraph.content, interval):
            # A line break belongs to what it follows.
            if isinstance(part, Break):
                pieces.append((pieces[-1][0] if pieces else interval, "\n"))
            else:
                pieces.extend(self._span(part, inner))
        merged: list[tuple[_Interval, str]] = []
        for when, text in pieces:
            if merged and merged[-1][0] == when:
                merged[-1] = (when, merged[-1][1] + text)
            else:
                merged.append((when, text))
        for (start, end), text in merged:
            if text.strip():
                yield TimedText(start, None if end == inf else end, text.strip("\n"), paragraph)

    def _span(self, span: Span, interval: _Interval) -> Iterator[tuple[_Interval, str]]:
        for part, inner in self.shown(span, span.content, interval):
            if isinstance(part, Span):
                yield from self._span(part, inner)
            else:
                yield inner, "\n" if isinstance(part, Break) else part

    def _intervals(
        self, parent: _Timed, children: Sequence[_Child], around: _Interval
    ) -> Iterator[tuple[_Child, _Interval]]:
        is_sequence = _is_sequence(parent)
        begin = around[0]
        for child in children:
            start, end = self.interval(child, (begin, around[1]))
            if is_sequence:
                if not _has_end(child):
                    end = self._implicit_end(child, (start, end))
                begin = end
            yield child, (start, end)

    def _implicit_end(self, element: _Timed | Content, interval: _Interval) -> float:
        """When an element of a sequence ends that does not say so: with all that is in it; text lasts no time."""
        if isinstance(element, str | Break) or _is_text(element):
            return interval[0]
        return max(self._ends(element, interval), default=interval[0])

    def _ends(self, element: _Timed, interval: _Interval) -> Iterator[float]:
        is_sequence = _is_sequence(element)
        for child, inner in self._intervals(element, _children(element), interval):
            is_open = isinstance(child, str | Break) or _is_text(child) or _has_end(child)
            if is_sequence or is_open:
                yield inner[1]
            else:
                yield self._implicit_end(child, inner)

    def _seconds(self, element: _Timed, name: str, default: float) -> float:
        expression = getattr(element, name)
        return default if expression is None else self._clock.seconds(expression)


def _is_sequence(element: _Timed) -> bool:
    return element.attributes.get("timeContainer") == "seq"


def _has_end(element: _Timed | Content) -> bool:
    return not isinstance(element, str | Break) and not (element.end is None and element.duration is None)


def _is_text(element: _Timed) -> bool:
    return isinstance(element, Span) and all(isinstance(part, str) for part in element.content)


def _children(element: _Timed) -> Sequence[_Timed | Content]:
    if isinstance(element, Body):
        return element.divs
    if isinstance(element, Div):
        return (*element.paragraphs, *element.divs)
    # Blanks between spans are no text.
    return [part for part in element.content if not _is_blank(part)]


def _is_blank(part: Content) -> bool:
    if isinstance(part, Span):
        return not _has_end(part) and all(isinstance(inner, str) and _is_blank(inner) for inner in part.content)
    return isinstance(part, str) and not part.strip()
