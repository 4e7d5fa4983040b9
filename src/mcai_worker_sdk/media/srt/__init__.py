"""SRT through the system's libsrt: URLs, connections, a file-like reader. Needs neither PyAV nor numpy."""

from mcai_worker_sdk.media.srt.connection import SrtConnection, open_connection
from mcai_worker_sdk.media.srt.reader import SrtReader
from mcai_worker_sdk.media.srt.url import SrtUrl, is_srt_url, parse_srt_url

__all__ = ["SrtConnection", "SrtReader", "SrtUrl", "is_srt_url", "open_connection", "parse_srt_url"]
