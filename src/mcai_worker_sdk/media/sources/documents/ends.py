"""Where one document of a row of bytes ends: XML, JSON, and what is neither."""

from __future__ import annotations

import re
from typing import Protocol
from xml.parsers.expat import ExpatError, ParserCreate

from mcai_worker_sdk.media.text.xml_roots import HEAD_BYTES, find_root

__all__ = ["BLANK", "DocumentScanner", "begins_document", "is_filling", "scanner_for"]

#: What may stand between documents; some senders end each with a NUL.
BLANK = b"\0 \t\r\n"

_BOM = b"\xef\xbb\xbf"
#: How much the XML parser is given at once: what it is given beyond the document's end is for nothing.
_PIECE_BYTES = 4096
#: How far back a search begins again when more has come: what is searched for may have been cut.
_OVERLAP = 256

_SPACE = re.compile(rb"[\0 \t\r\n]*+")
_AFTER_VALUE = re.compile(rb"[ \t\r\n]*+")
_COMMENT = rb"<!--(?:(?!--).)*+-->|<\?(?!xml\s).*?\?>"
_AFTER_ROOT = re.compile(rb"(?>[ \t\r\n]+|%b)*+" % _COMMENT, re.DOTALL)
_FILLING = re.compile(rb"(?>[\0 \t\r\n]+|\xef\xbb\xbf|%b)*+" % _COMMENT, re.DOTALL)
_TAG = re.compile(rb"""<(?>[^"'<>]+|"[^"]*"|'[^']*')*+>""")
# A declaration, or the root of TTML, which never stands within another document.
_DECLARATION = re.compile(rb"<\?xml\s")
_BEGIN = re.compile(rb"<\?xml\s|<(?:[A-Za-z_][\w.-]*+:)?tt\s[^<>]*?\bxmlns")
_IN_STRING = re.compile(rb'\\.|"', re.DOTALL)
_OUT_OF_STRING = re.compile(rb'["{}\[\]]')


class DocumentScanner(Protocol):
    """Looks for the end of one document, as more of it comes."""

    def find_end(self, data: bytes, start: int) -> int | None:
        """
        Index after the document in ``data``, or ``None`` when it goes on.

        Args:
            data: With all that earlier calls were given, from ``start`` on.
            start: Where the document begins.
        """


def begins_document(message: bytes, pending: bytes) -> bool:
    """True for a message that begins a document, even though the one that came before it, ``pending``, goes on."""
    begin = message.lstrip(BLANK).removeprefix(_BOM)
    if _DECLARATION.match(begin):
        return True
    is_prolog = pending.lstrip(BLANK).removeprefix(_BOM).startswith(b"<") and find_root(pending[:HEAD_BYTES]) is None
    return _BEGIN.match(begin) is not None and not is_prolog


def is_filling(data: bytes) -> bool:
    """True for blanks, comments and processing instructions without a document."""
    return _FILLING.fullmatch(data) is not None


def scanner_for(data: bytes, start: int) -> tuple[DocumentScanner | None, int]:
    """The scanner for what begins at ``start``, ``None`` while it may be either; and where the document begins."""
    begin = _skip(_SPACE, data, start)
    if begin < len(data) <= begin + len(_BOM) and _BOM.startswith(data[begin:]):
        return None, begin
    after_mark = begin + len(_BOM) if data.startswith(_BOM, begin) else begin
    first, second = data[after_mark : after_mark + 1], data[after_mark + 1 : after_mark + 2]
    # UTF-16 is not cut: its messages are taken for whole documents.
    if first == b"<" and second != b"\0":
        return _XmlScanner(), begin
    if first in (b"{", b"["):
        return _JsonScanner(), begin
    return _TextScanner(), start


class _TextScanner:
    """Neither XML nor JSON: a document for each message, as far as no XML begins in it."""

    def find_end(self, data: bytes, start: int) -> int | None:
        """The end of the message, or where XML begins in it."""
        begin = _BEGIN.search(data, start)
        return len(data) if begin is None else begin.start()


class _JsonScanner:
    """Ends with the bracket that closes the first one; whether it is JSON, its reader finds out."""

    def __init__(self) -> None:
        self._scanned = 0
        self._depth = 0
        self._in_string = False

    def find_end(self, data: bytes, start: int) -> int | None:
        """Index after the bracket that closes the first one, and the blanks behind it."""
        position = start + self._scanned
        while sign := (_IN_STRING if self._in_string else _OUT_OF_STRING).search(data, position):
            position = sign.end()
            if sign.group() == b'"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += 1 if sign.group() in b"{[" else -1
                if self._depth == 0:
                    return _skip(_AFTER_VALUE, data, position)
        # A backslash at the very end belongs to what comes next.
        cut = self._in_string and position < len(data) and data.endswith(b"\\")
        self._scanned = len(data) - start - cut
        return None


class _XmlScanner:
    """
    Ends after the root element, with the blanks, comments and processing instructions behind it.

    Only XML that is not well-formed is searched for text: its end is that of the first end tag of its root, or the
    begin of the next document.
    """

    def __init__(self) -> None:
        self._parser = ParserCreate()
        self._parser.StartElementHandler = self._begin_element
        self._parser.EndElementHandler = self._end_element
        # Entities stay off: XML that declares them is searched for text.
        self._parser.EntityDeclHandler = self._refuse_entity
        # Newer versions of expat put off reading what ends in the middle of a tag.
        set_deferral = getattr(self._parser, "SetReparseDeferralEnabled", None)
        if set_deferral is not None:
            set_deferral(False)
        self._parsed = 0
        self._depth = 0
        self._root_at: int | None = None
        self._end_at: int | None = None
        self._is_broken = False
        self._searched = 0

    def find_end(self, data: bytes, start: int) -> int | None:
        """Index after the root element and what follows it; of broken XML, after the end tag of its root."""
        view = memoryview(data)
        while not self._is_broken and start + self._parsed < len(data):
            piece = view[start + self._parsed : start + self._parsed + _PIECE_BYTES]
            self._parsed += len(piece)
            try:
                self._parser.Parse(piece, False)
            except (ExpatError, LookupError, ValueError):
                fault = start + self._parser.ErrorByteIndex
                if self._root_at is None and fault > start and is_filling(data[start:fault]):
                    # Comments of the document before: nothing but XML without a declaration may follow them.
                    return fault
                self._is_broken = True
            if self._root_at is not None and self._end_at is not None:
                # Expat tells of an empty element's end where its tag ends already.
                root_end = _skip(_TAG, data, start + self._root_at)
                is_empty = data.startswith(b"/>", root_end - 2)
                return _end_after(data, start + (self._root_at if is_empty else self._end_at))
        return self._find_broken_end(data, start) if self._is_broken else None

    def _begin_element(self, _name: str, _attributes: dict[str, str]) -> None:
        if self._root_at is None:
            self._root_at = self._parser.CurrentByteIndex
        self._depth += 1

    def _end_element(self, _name: str) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._end_at = self._parser.CurrentByteIndex

    def _refuse_entity(self, *_: object) -> None:
        raise _EntityError

    def _find_broken_end(self, data: bytes, start: int) -> int | None:
        head = start + len(_BOM) if data.startswith(_BOM, start) else start
        root = find_root(data[head : head + HEAD_BYTES])
        position = max(start + self._searched, head + (1 if root is None else root.stop))
        following = (_DECLARATION if root is None else _BEGIN).search(data, position)
        closing = None
        if root is not None:
            name = re.escape(root.name.encode("latin-1", errors="replace"))
            closing = re.compile(rb"</%b\s*>" % name).search(data, position)
        if closing is not None and (following is None or closing.start() < following.start()):
            return _end_after(data, closing.start())
        self._searched = max(0, len(data) - start - _OVERLAP)
        return None if following is None else following.start()


class _EntityError(ValueError):
    """A document declares an entity."""


def _end_after(data: bytes, tag_at: int) -> int:
    return _skip(_AFTER_ROOT, data, _skip(_TAG, data, tag_at))


def _skip(pattern: re.Pattern[bytes], data: bytes, position: int) -> int:
    found = pattern.match(data, position)
    return position if found is None else found.end()
