"""White space of TTML text: what of it is shown, by ``xml:space``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["WHITE_SPACE", "TextRun", "collapse", "join_words"]

#: White space of XML. No-break and ideographic spaces are characters like any other.
WHITE_SPACE = " \t\r\n"
_RUNS = re.compile(f"[{WHITE_SPACE}]+")


@dataclass(slots=True)
class TextRun:
    """The text between two tags of a paragraph."""

    text: str
    """The text of the document; what is left of it once it was collapsed."""
    is_preserved: bool
    """True where ``xml:space`` is ``preserve``."""


def collapse(runs: Sequence[TextRun | None]) -> None:
    """
    Drop the white space of a paragraph that is not shown, across all its elements.

    Of white space in a row the first character counts, as a blank; none is shown at the begin and end of a line.
    Source: W3C TTML 2, section 8.2 (``xml:space``), with the properties of XSL 1.1 it names.

    Args:
        runs: The texts of one paragraph in their order, changed in place; ``None`` is a line break.
    """
    lines: list[list[TextRun]] = [[]]
    for run in runs:
        if run is None:
            lines.append([])
        elif run.text:
            lines[-1].append(run)
    for line in lines:
        _collapse_line(line)


def join_words(text: str) -> str:
    """Text with each run of white space made one blank, and none around it."""
    return _RUNS.sub(" ", text).strip(WHITE_SPACE)


def _collapse_line(line: list[TextRun]) -> None:
    is_after_space = True
    for run in line:
        if not run.is_preserved:
            run.text = _RUNS.sub(" ", run.text)
            if is_after_space:
                run.text = run.text.removeprefix(" ")
        if run.text:
            is_after_space = run.text[-1] in WHITE_SPACE
    is_before_break = True
    for run in reversed(line):
        if is_before_break and not run.is_preserved:
            run.text = run.text.removesuffix(" ")
        if run.text:
            # A line feed that is preserved breaks the line too.
            is_before_break = run.is_preserved and run.text[0] in "\r\n"
