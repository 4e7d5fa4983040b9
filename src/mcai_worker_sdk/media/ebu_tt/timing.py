"""When each piece of text is shown: the times of elements within elements, resolved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from mcai_worker_sdk.media.ebu_tt.model import Body, Break, Div, EbuTtDocument, Paragraph, Span

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

    Times of an element count from the begin of the element around it and end with it (TTML's parallel time containers).
    """
    resolver = _Resolver(document)
    body = resolver.interval(document.body, (0.0, inf))
    for div in document.body.divs:
        yield from resolver.div(div, body)


_Interval = tuple[float, float]


class _Resolver:
    def __init__(self, document: EbuTtDocument) -> None:
        self._frame_rate = document.frame_rate
        self._tick_rate = document.tick_rate

    def interval(self, element: Body | Div | Paragraph | Span, around: _Interval) -> _Interval:
        """Begin and end of an element in seconds, from those of the element around it."""
        start = around[0] + self._seconds(element, "begin", 0.0)
        end = min(
            around[0] + self._seconds(element, "end", inf),
            start + self._seconds(element, "duration", inf),
            around[1],
        )
        return start, max(start, end)

    def div(self, div: Div, around: _Interval) -> Iterator[TimedText]:
        """The texts of a group."""
        interval = self.interval(div, around)
        for paragraph in div.paragraphs:
            yield from self._paragraph(paragraph, self.interval(paragraph, interval))
        for inner in div.divs:
            yield from self.div(inner, interval)

    def _paragraph(self, paragraph: Paragraph, interval: _Interval) -> Iterator[TimedText]:
        pieces: list[tuple[_Interval, str]] = []
        for part in paragraph.content:
            # A line break belongs to what it follows.
            if isinstance(part, Break):
                pieces.append((pieces[-1][0] if pieces else interval, "\n"))
            else:
                pieces.extend(self._span(part, self.interval(part, interval)))
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
        for part in span.content:
            if isinstance(part, Span):
                yield from self._span(part, self.interval(part, interval))
            else:
                yield interval, "\n" if isinstance(part, Break) else part

    def _seconds(self, element: Body | Div | Paragraph | Span, name: str, default: float) -> float:
        expression = getattr(element, name)
        if expression is None:
            return default
        seconds: float = expression.to_seconds(frame_rate=self._frame_rate, tick_rate=self._tick_rate)
        return seconds
