"""EBU-TT (Live) and TTML documents: an object model, read and written."""

from mcai_worker_sdk.media.ebu_tt.model import (
    Animation,
    Body,
    Break,
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
from mcai_worker_sdk.media.ebu_tt.parser import parse_ebu_tt
from mcai_worker_sdk.media.ebu_tt.times import ClockTime, Frames, OffsetTime, TimeExpression
from mcai_worker_sdk.media.ebu_tt.timing import TimedText, timed_texts
from mcai_worker_sdk.media.ebu_tt.writer import paragraph_to_xml, to_xml

__all__ = [
    "Animation",
    "Body",
    "Break",
    "ClockTime",
    "Div",
    "EbuTtDocument",
    "Frames",
    "Head",
    "Layout",
    "Metadata",
    "OffsetTime",
    "Paragraph",
    "Region",
    "Span",
    "Style",
    "Styling",
    "TimeExpression",
    "TimedText",
    "Title",
    "paragraph_to_xml",
    "parse_ebu_tt",
    "timed_texts",
    "to_xml",
]
