"""Whether the first bytes a peer sends are those of an MPEG transport stream, wherever in a packet they begin."""

from __future__ import annotations

import codecs
import re
from typing import Literal

__all__ = ["HEAD_BYTES", "recognise"]

_SYNC = b"\x47"
#: Bytes from one sync byte to the next: plain, with a time stamp before it (M2TS), with a checksum behind it (DVB).
_PACKET_BYTES = (188, 192, 204)
#: So many sync bytes in a row are no chance. Source: ETSI TR 101 290, section 5.2.1.
_SYNC_COUNT = 5
#: With this many bytes a transport stream is recognised, wherever they begin.
HEAD_BYTES = (_SYNC_COUNT + 1) * max(_PACKET_BYTES)

_BLANKS = b"\xef\xbb\xbf\0 \t\r\n"
_CONTROL = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")


def recognise(head: bytes) -> Literal["transport stream", "other", "unclear"]:
    """
    Tell a transport stream by its sync bytes.

    Args:
        head: What came so far; not empty.

    Returns:
        ``unclear`` when more bytes would tell, at most :data:`HEAD_BYTES`.
    """
    if head.startswith(_SYNC) or _has_rhythm(head):
        return "transport stream"
    begins_document = head.lstrip(_BLANKS)[:1] in (b"<", b"{", b"[")
    # A packet that was cut holds a sync byte behind the cut.
    may_be_cut = len(head) < HEAD_BYTES and (_SYNC in head or len(head) < max(_PACKET_BYTES))
    return "unclear" if may_be_cut and not begins_document and not _is_text(head) else "other"


def _has_rhythm(head: bytes) -> bool:
    """True when each packet, from some place on, begins with a sync byte."""
    for size in _PACKET_BYTES:
        for start in range(min(size, len(head))):
            beats = head[start::size]
            if len(beats) >= _SYNC_COUNT and beats.count(_SYNC) == len(beats):
                return True
    return False


def _is_text(head: bytes) -> bool:
    if _CONTROL.search(head):
        return False
    try:
        # The last character may be cut.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
