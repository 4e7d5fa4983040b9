"""When each piece of text is shown: the times of elements within elements, resolved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeAlias, TypeVar

from mcai_worker_sdk.media.ebu_tt.clock import DocumentClock
from mcai_worker_sdk.media.ebu_tt.display import Displays, Shown
from mcai_worker_sdk.media.ebu_tt.intervals import Interval, Intervals, intersection
from mcai_worker_sdk.media.ebu_tt.model import (
    Animation,
    Body,
    Break,
    Content,
    Div,
    EbuTtDocument,
    Paragraph,
    Region,
    Span,
)
from mcai_worker_sdk.media.ebu_tt.names import XML
from mcai_worker_sdk.media.ebu_tt.times import TimeExpression
from mcai_worker_sdk.media.ebu_tt.white_space import WHITE_SPACE, TextRun, collapse

__all__ = ["TimedText", "timed_texts"]

_SPACE = f"{{{XML}}}space"


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
    The texts of a document in its order: one for each paragraph, several where parts of it have times of their own.

    Times of an element count from the begin of the element around it and end with it; within an element of
    ``timeContainer="seq"`` they count from the end of the one before. Text is left out while its region is not active,
    and while ``tts:display`` or ``tts:visibility`` hides it. Source: W3C TTML 2, section 12.
    """
    resolver = _Resolver(document)
    body = resolver.interval(document.body, (0.0, inf))
    inside = resolver.inside(document.body, body, resolver.around)
    for div, interval in resolver.active(document.body, document.body.divs, body):
        yield from resolver.div(div, interval, inside)


_Timed: TypeAlias = Body | Div | Paragraph | Span
_Child = TypeVar("_Child", bound="_Timed | Content")
#: Text, or ``None`` for a line break, and the moments in which it is shown.
_Piece: TypeAlias = tuple[TextRun | None, Intervals]


@dataclass(frozen=True, slots=True)
class _Context:
    """What an element has of those around it."""

    shown: Shown
    keeps_space: bool


class _Resolver:
    def __init__(self, document: EbuTtDocument) -> None:
        self._clock = DocumentClock(document)
        self._displays = Displays(document, self._own_interval)
        self.around = _Context(self._displays.around(), document.attributes.get(_SPACE) == "preserve")

    def interval(self, element: _Timed | Content, around: Interval) -> Interval:
        """Begin and end of an element in seconds, from those of the element around it."""
        return around if isinstance(element, str | Break) else self._own_interval(element, around)

    def inside(self, element: _Timed, interval: Interval, around: _Context) -> _Context:
        """What the content of an element has of it."""
        shown = self._displays.inside(element, interval, around.shown)
        space = element.attributes.get(_SPACE)
        if space is None and shown is around.shown:
            return around
        return _Context(shown, around.keeps_space if space is None else space == "preserve")

    def active(self, parent: _Timed, children: Sequence[_Child], around: Interval) -> Iterator[tuple[_Child, Interval]]:
        """The children of an element with their intervals, without those that last no time."""
        for child, (start, end) in self._intervals(parent, children, around):
            if start < end:
                yield child, (start, end)

    def div(self, div: Div, interval: Interval, around: _Context) -> Iterator[TimedText]:
        """The texts of a group."""
        inside = self.inside(div, interval, around)
        for child, inner in self.active(div, tuple(div.children), interval):
            if isinstance(child, Paragraph):
                yield from self._paragraph(child, inner, inside)
            else:
                yield from self.div(child, inner, inside)

    def _paragraph(self, paragraph: Paragraph, interval: Interval, around: _Context) -> Iterator[TimedText]:
        inside = self.inside(paragraph, interval, around)
        for text, moments in _joined(self._pieces(paragraph, interval, inside)):
            for start, end in moments:
                yield TimedText(start, None if end == inf else end, text, paragraph)

    def _pieces(self, element: Paragraph | Span, interval: Interval, inside: _Context) -> Iterator[_Piece]:
        """The texts within an element that are ever shown."""
        shown = self._displays.moments(inside.shown)
        for part, inner in self.active(element, element.content, interval):
            if isinstance(part, Span):
                yield from self._pieces(part, inner, self.inside(part, inner, inside))
            elif moments := intersection((inner,), shown):
                yield None if isinstance(part, Break) else TextRun(part, inside.keeps_space), moments

    def _intervals(
        self, parent: _Timed, children: Sequence[_Child], around: Interval
    ) -> Iterator[tuple[_Child, Interval]]:
        is_sequence = _is_sequence(parent)
        begin = around[0]
        for child in children:
            start, end = self.interval(child, (begin, around[1]))
            if is_sequence:
                if not _has_end(child):
                    end = min(self._implicit_end(child, (start, end)), around[1])
                begin = end
            yield child, (start, end)

    def _implicit_end(self, element: _Timed | Content, interval: Interval) -> float:
        """When an element of a sequence ends that does not say so: with all that is in it; text lasts no time."""
        if isinstance(element, str | Break) or _is_text(element):
            return interval[0]
        return max(self._ends(element, interval), default=interval[0])

    def _ends(self, element: _Timed, interval: Interval) -> Iterator[float]:
        is_sequence = _is_sequence(element)
        for child, inner in self._intervals(element, _children(element), interval):
            is_open = isinstance(child, str | Break) or _is_text(child) or _has_end(child)
            if is_sequence or is_open:
                yield inner[1]
            else:
                yield self._implicit_end(child, inner)

    def _own_interval(self, element: _Timed | Region | Animation, around: Interval) -> Interval:
        start = around[0] + self._seconds(element.begin, 0.0)
        end = min(around[0] + self._seconds(element.end, inf), start + self._seconds(element.duration, inf), around[1])
        return start, max(start, end)

    def _seconds(self, expression: TimeExpression | None, default: float) -> float:
        return default if expression is None else self._clock.seconds(expression)


def _joined(pieces: Iterable[_Piece]) -> Iterator[tuple[str, Intervals]]:
    """
    The texts of a paragraph, those joined that follow each other and are shown in the same moments.

    White space and line breaks between two of them are no text that parts them.
    """
    groups: list[tuple[list[TextRun | None], Intervals]] = []
    between: list[TextRun | None] = []
    for run, moments in pieces:
        if groups and groups[-1][1] == moments:
            groups[-1][0].extend((*between, run))
            between.clear()
        elif groups and (run is None or _is_blank(run.text)):
            between.append(run)
        else:
            groups.append(([run], moments))
            between.clear()
    for runs, moments in groups:
        collapse(runs)
        text = "".join("\n" if run is None else run.text for run in runs)
        if text.strip(WHITE_SPACE):
            yield text.strip("\n"), moments


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
        return tuple(element.children)
    # Blanks between spans are no text.
    return [part for part in element.content if not _is_blank(part)]


def _is_blank(part: Content) -> bool:
    if isinstance(part, Span):
        return not _has_end(part) and all(isinstance(inner, str) and _is_blank(inner) for inner in part.content)
    return isinstance(part, str) and not part.strip(WHITE_SPACE)
