"""How long a text may be that is published: an order's faults can be as many as its bytes."""

from __future__ import annotations

__all__ = ["MESSAGE_LIMIT_BYTES", "cut_text"]

#: A published text is cut to this many bytes of UTF-8.
MESSAGE_LIMIT_BYTES = 4096


def cut_text(text: str, limit_bytes: int = MESSAGE_LIMIT_BYTES) -> str:
    """The text, or its beginning and an ellipsis where it is longer than so many bytes of UTF-8."""
    # Of a very long text not even the bytes are made.
    encoded = text[:limit_bytes].encode("utf-8", errors="replace")
    if len(text) <= limit_bytes and len(encoded) <= limit_bytes:
        return text
    return encoded[: limit_bytes - 3].decode("utf-8", errors="ignore") + "..."
