"""SRT through the system's libsrt: URLs, connections, a file-like reader. Needs neither PyAV nor numpy."""

from mcai_worker_sdk.media.srt.connecting import connect, open_connection
from mcai_worker_sdk.media.srt.connection import SrtConnection
from mcai_worker_sdk.media.srt.reader import SrtReader
from mcai_worker_sdk.media.srt.url import SrtUrl, parse_srt_url

__all__ = ["SrtConnection", "SrtReader", "SrtUrl", "connect", "open_connection", "parse_srt_url"]
