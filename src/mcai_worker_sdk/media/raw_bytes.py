"""The bytes behind an address, as they are before FFmpeg makes packets of them."""

from __future__ import annotations

from mcai_worker_sdk.media.pyav import open_input

__all__ = ["read_beginning"]

_TIMEOUT_SECONDS = 10.0


def read_beginning(url: str, limit_bytes: int) -> bytes:
    """
    The first bytes behind any URL that FFmpeg reads.

    Raises:
        av.error.FFmpegError: It cannot be read.
    """
    with open_input(url, format="data", timeout=_TIMEOUT_SECONDS) as container:
        data = bytearray()
        for packet in container.demux():
            data += bytes(packet)
            if len(data) >= limit_bytes:
                break
        return bytes(data)
