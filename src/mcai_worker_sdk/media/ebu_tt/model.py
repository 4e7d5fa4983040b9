"""
The object model of an EBU-TT (Live) document.

The names a worker meets (``sequence_identifier``, ``head``, ``body.divs``, ``div.paragraphs``, ``paragraph.spans``,
``span.text``, ``begin``, ``end``, ``duration``) are those of the reference. Attributes without a field of their own are
in ``attributes``, by their name in the form ``{namespace}name``.

Sources: W3C TTML 2, EBU Tech 3350 (part 1), EBU Tech 3370 (part 3, live).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

from mcai_worker_sdk.media.ebu_tt.times import TimeExpression

__all__ = [
    "Animation",
    "Body",
    "Break",
    "Content",
    "Div",
    "EbuTtDocument",
    "Head",
    "Layout",
    "Metadata",
    "Paragraph",
    "Region",
    "Span",
    "Style",
    "Styling",
    "Title",
]


@dataclass(frozen=True, slots=True)
class Title:
    """``ttm:title``."""

    content: str
    """The title."""
    id: str | None = None
    """``xml:id``."""
    lang: str | None = None
    """``xml:lang``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The descriptive texts of the head; what EBU's own metadata elements add is not kept."""

    title: Title | None = None
    """``ttm:title``."""
    desc: str | None = None
    """``ttm:desc``."""
    copyright: str | None = None
    """``ttm:copyright``."""
    agent: str | None = None
    """``ttm:agent``: its name, or its text."""
    actor: str | None = None
    """``ttm:actor``: the agent it refers to, or its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """``style``: a named set of style attributes."""

    id: str | None = None
    """``xml:id``, what ``style`` of an element refers to."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """``{namespace}name`` to value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Styling:
    """``styling``: the styles."""

    lang: str | None = None
    """``xml:lang``."""
    styles: tuple[Style, ...] = ()
    """The styles, in the order of the document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Animation:
    """``set``: values that attributes of the element around it have for a while."""

    begin: TimeExpression | None = None
    """When it begins, counted from the begin of the element around it."""
    end: TimeExpression | None = None
    """When it ends, counted from the begin of the element around it."""
    duration: TimeExpression | None = None
    """``dur``."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """``{namespace}name`` to value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """``region``: a named area of the picture."""

    id: str | None = None
    """``xml:id``, what ``region`` of an element refers to."""
    style: str | None = None
    """Ids of its styles, separated by blanks; a later one goes before an earlier one."""
    begin: TimeExpression | None = None
    """When it begins to show what refers to it."""
    end: TimeExpression | None = None
    """When it ceases to."""
    duration: TimeExpression | None = None
    """``dur``."""
    animations: tuple[Animation, ...] = ()
    """What changes in it with time."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """``{namespace}name`` to value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """``layout``: the regions."""

    lang: str | None = None
    """``xml:lang``."""
    regions: tuple[Region, ...] = ()
    """The regions, in the order of the document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """``head``."""

    metadata: Metadata | None = None
    """Descriptive texts."""
    styling: Styling | None = None
    """Styles."""
    layout: Layout | None = None
    """Regions."""


@dataclass(frozen=True, slots=True)
class Break:
    """``br``: a new line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Element:
    """What every element of the body may have."""

    id: str | None = None
    """``xml:id``."""
    lang: str | None = None
    """``xml:lang``."""
    style: str | None = None
    """Ids of its styles, separated by blanks."""
    region: str | None = None
    """Id of its region."""
    begin: TimeExpression | None = None
    """When it begins, counted from the begin of the element around it."""
    end: TimeExpression | None = None
    """When it ends, counted from the begin of the element around it."""
    duration: TimeExpression | None = None
    """``dur``."""
    animations: tuple[Animation, ...] = ()
    """What changes in it with time."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """``{namespace}name`` to value."""


Content: TypeAlias = "str | Span | Break"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span(_Element):
    """``span``; text that stands in a paragraph without one is a span without attributes."""

    content: tuple[Content, ...] = ()
    """Text, spans within this one, line breaks."""

    @property
    def text(self) -> str:
        """All its text; a line break is a newline."""
        return "".join(_text(part) for part in self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph(_Element):
    """``p``: one subtitle."""

    content: tuple[Span | Break, ...] = ()
    """Spans and line breaks, in the order of the document."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans, without the line breaks between them."""
        return tuple(part for part in self.content if isinstance(part, Span))

    @property
    def text(self) -> str:
        """All its text; a line break is a newline."""
        return "".join(_text(part) for part in self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Div(_Element):
    """``div``: a group of paragraphs."""

    paragraphs: tuple[Paragraph, ...] = ()
    """The paragraphs directly in it, in the order of the document."""
    divs: tuple[Div, ...] = ()
    """The groups directly in it, in the order of the document."""
    paragraphs_before_divs: tuple[int, ...] = ()
    """For each group, how many of the paragraphs stand before it; all of them, where it is missing here."""

    @property
    def children(self) -> Iterator[Paragraph | Div]:
        """Its paragraphs and groups in the order of the document."""
        given = 0
        for index, div in enumerate(self.divs):
            before = self.paragraphs_before_divs[index : index + 1] or (len(self.paragraphs),)
            yield from self.paragraphs[given : before[0]]
            given = max(given, before[0])
            yield div
        yield from self.paragraphs[given:]

    @property
    def all_paragraphs(self) -> Iterator[Paragraph]:
        """Its paragraphs and those of the groups in it, in the order of the document."""
        for child in self.children:
            if isinstance(child, Paragraph):
                yield child
            else:
                yield from child.all_paragraphs


@dataclass(frozen=True, slots=True, kw_only=True)
class Body(_Element):
    """``body``."""

    divs: tuple[Div, ...] = ()
    """The groups, in the order of the document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EbuTtDocument:
    """``tt``: one document. A live sequence is a row of documents with one identifier and rising numbers."""

    language: str | None = None
    """``xml:lang``."""
    sequence_identifier: str | None = None
    """``ebuttp:sequenceIdentifier``, ``None`` when the document is not live."""
    sequence_number: int | None = None
    """``ebuttp:sequenceNumber``."""
    clock_mode: str | None = None
    """``ttp:clockMode``: ``local``, ``gps`` or ``utc``."""
    time_base: str | None = None
    """``ttp:timeBase``: ``clock``, ``media`` or ``smpte``."""
    frame_rate: Fraction | None = None
    """Frames per second: ``ttp:frameRate`` times ``ttp:frameRateMultiplier``."""
    time_code_rate: int | None = None
    """``ttp:frameRate`` where that is not ``frame_rate`` rounded: frames a second that time codes count."""
    tick_rate: Fraction | None = None
    """Ticks per second: ``ttp:tickRate``. Without one, ticks are the frames of ``frame_rate``, or seconds."""
    head: Head = Head()
    """What is said about the text."""
    body: Body = Body()
    """The text. A live document without one clears the screen."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """``{namespace}name`` to value."""

    @property
    def paragraphs(self) -> Iterator[Paragraph]:
        """Every paragraph of the body."""
        return (paragraph for div in self.body.divs for paragraph in div.all_paragraphs)

    @property
    def text(self) -> str:
        """The text of all paragraphs, one after the other on lines of their own."""
        return "\n".join(paragraph.text for paragraph in self.paragraphs)


def _text(part: Content) -> str:
    if isinstance(part, str):
        return part
    return "\n" if isinstance(part, Break) else part.text
