"""What the root element of an XML document is, told from the document's head without parsing it."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

__all__ = ["HEAD_BYTES", "XmlRoot", "find_root", "is_ttml"]

#: The root element of a document begins within this many bytes.
HEAD_BYTES = 64 * 1024

_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    # XML may leave the mark out where it declares its encoding.
    (b"<\0?\0", "utf-16-le"),
    (b"\0<\0?", "utf-16-be"),
)
_QUOTED = r""""[^"]*"|'[^']*'"""
_SUBSET = rf"""\[(?>[^\]"'<]+|{_QUOTED}|<!--.*?-->|<(?!!--))*+\]"""
_DOCTYPE = rf"""<!DOCTYPE(?>[^\[<>"']+|{_QUOTED}|{_SUBSET})*+>"""
# Atomic and possessive: what a peer sends must not make the search try every way to split a row of comments.
_ROOT = re.compile(rf"\ufeff?(?>\s+|<\?.*?\?>|<!--.*?-->|{_DOCTYPE})*+<([^\s/>!?<]+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class XmlRoot:
    """The begin of a root element."""

    name: str
    """Its name as written, with its prefix."""
    stop: int
    """Index of the character after its name."""

    @property
    def local_name(self) -> str:
        """Its name without its prefix."""
        return self.name.rpartition(":")[2]


def find_root(document: bytes) -> XmlRoot | None:
    """
    The root element of what may be an XML document, behind declaration, comments, processing instructions and DOCTYPE.

    Nothing is resolved or checked: whoever parses the document does that.
    """
    head = document[:HEAD_BYTES]
    # In the encodings that have none of these begins, the signs of XML are those of ASCII.
    encoding = next((encoding for begin, encoding in _ENCODINGS if head.startswith(begin)), "latin-1")
    root = _ROOT.match(head.decode(encoding, errors="replace"))
    return None if root is None else XmlRoot(root.group(1), root.end(1))


def is_ttml(document: bytes) -> bool:
    """True for an XML document whose root is called ``tt``, be it well-formed or not."""
    root = find_root(document)
    return root is not None and root.local_name == "tt"
