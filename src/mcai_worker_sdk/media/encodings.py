"""Text of which nothing says how it is encoded: tags of a source, subtitle files."""

from __future__ import annotations

__all__ = ["LEGACY_ENCODING", "UTF_8", "decode_text", "is_utf8", "likely_encoding"]

#: UTF-8, with or without its byte order mark.
UTF_8 = "utf-8-sig"
#: What text that is no Unicode is most often.
LEGACY_ENCODING = "cp1252"


def is_utf8(data: bytes) -> bool:
    """True when all bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def likely_encoding(data: bytes) -> str:
    """Where characters beyond ASCII are UTF-8 beside bytes that are not, it is UTF-8 that was damaged."""
    if is_utf8(data) or not data.decode(errors="ignore").isascii():
        return UTF_8
    return LEGACY_ENCODING


def decode_text(data: bytes, encoding: str | None = None) -> str:
    """The text, by the encoding given or the likely one; what cannot be read is U+FFFD, NULs at the ends are cut."""
    return data.decode(encoding or likely_encoding(data), errors="replace").strip("\x00")
