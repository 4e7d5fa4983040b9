"""Making an SRT connection: wait for a peer as a listener, or call one."""

from __future__ import annotations

import functools
import socket
import struct
from contextlib import closing
from time import monotonic

from mcai_worker_sdk.errors import MediaError, MediaTimeoutError
from mcai_worker_sdk.logs import get_logger, mask_secret
from mcai_worker_sdk.media.srt.connection import (
    CHECK_INTERVAL_MS,
    MAX_LIVE_MESSAGE_BYTES,
    SrtConnection,
    close_quietly,
    peer_idle_ms,
)
from mcai_worker_sdk.media.srt.libsrt import (
    EpollEvent,
    ListenHook,
    Option,
    SocketState,
    SrtCallError,
    SrtLibrary,
    Watch,
    load_library,
)
from mcai_worker_sdk.media.srt.refusals import refusals
from mcai_worker_sdk.media.srt.url import SrtUrl, parse_srt_url
from mcai_worker_sdk.media.waiting import Stoppable

__all__ = ["connect", "open_connection"]

#: Packets in flight and packets held for us: 48 MiB at most, taken by libsrt only as they fill.
_WINDOW_PACKETS = 32_768
_BUFFER_BYTES = _WINDOW_PACKETS * 1_472
_UDP_BUFFER_BYTES = 4 * 1024 * 1024
#: ``SRT_REJX_FORBIDDEN``.
_REJECT_FORBIDDEN = 1403
_LINGER_OFF = struct.pack("ii", 0, 0)

_logger = get_logger(__name__)


def connect(url: str, channel: Stoppable) -> SrtConnection | None:
    """:func:`open_connection` by an ``srt://`` URL, whose passphrase no log shows from then on."""
    srt_url = parse_srt_url(url)
    if srt_url.passphrase is not None:
        mask_secret(srt_url.passphrase)
    return open_connection(srt_url, channel)


def open_connection(url: SrtUrl, channel: Stoppable) -> SrtConnection | None:
    """
    Wait for a peer (listener) or call it (caller), and return the connection.

    Blocks; a stop of the job ends it within 0.2 s. Any thread.

    Args:
        url: Which end to be, and how.
        channel: The job's channel, or what asks it; its stop ends the wait.

    Returns:
        The connection, or ``None`` when the job was asked to stop first.

    Raises:
        MediaError: libsrt is missing, the host has no address, the port is taken, or the peer refused (its reason is
            in the text).
        MediaTimeoutError: Nobody answered or called within ``connect_timeout``.
    """
    library = load_library()
    address = _resolve(url)
    handle = library.call("create_socket")
    peer: int | None = None
    connection: SrtConnection | None = None
    try:
        _configure(library, handle, url)
        find_peer = _listen if url.mode == "listener" else _call
        peer = find_peer(library, handle, url, address, channel)
        if peer is not None:
            connection = SrtConnection(library, peer, url, channel)
    except SrtCallError as error:
        raise MediaError(
            f"The SRT connection {url.address} cannot be made: {error}; expected a {url.mode} to start. "
            "Check host, port and options."
        ) from error
    finally:
        kept = None if connection is None else peer
        for each in {handle, handle if peer is None else peer} - {kept}:
            close_quietly(library, each)
    return connection


def _resolve(url: SrtUrl) -> bytes:
    """The peer's address, or the one to listen on, as a ``sockaddr``."""
    host = url.host or "0.0.0.0"  # noqa: S104 - an empty host means every address, as documented
    try:
        family, _, _, _, address = socket.getaddrinfo(host, url.port, type=socket.SOCK_DGRAM)[0]
    except OSError as error:
        raise MediaError(
            f"The host {url.host!r} of {url.address} has no address: {error.strerror}; expected a name or an IP "
            "address. Correct the URL."
        ) from error
    packed = socket.inet_pton(family, str(address[0]))
    if family == socket.AF_INET6:
        flow, scope = (int(part) for part in address[2:4])
        return struct.pack("=HHI16sI", family, socket.htons(url.port), flow, packed, scope)
    return struct.pack("=HH4s8x", family, socket.htons(url.port), packed)


def _configure(library: SrtLibrary, handle: int, url: SrtUrl) -> None:
    for option in (Option.RCVSYN, Option.SNDSYN):
        library.set_int(handle, option, 0)
    library.set_int(handle, Option.LATENCY, url.latency_ms)
    library.set_int(handle, Option.PEERIDLETIMEO, peer_idle_ms(url))
    # A worker wants every byte, not every byte in time: late packets are waited for, and nothing is held back for
    # playing it at its moment (what is held back when the peer closes would be lost).
    library.set_int(handle, Option.TSBPDMODE, 0)
    library.set_int(handle, Option.TLPKTDROP, 0)
    # With periodic loss reports a sender never resends unasked, and one whose peer's buffer was full waits for ever.
    library.set_int(handle, Option.NAKREPORT, 0)
    library.set_int(handle, Option.FC, _WINDOW_PACKETS)
    library.set_int(handle, Option.RCVBUF, _BUFFER_BYTES)
    library.set_int(handle, Option.SNDBUF, _BUFFER_BYTES)
    library.set_int(handle, Option.UDP_RCVBUF, _UDP_BUFFER_BYTES)
    if url.transport == "file":
        library.set_bytes(handle, Option.CONGESTION, b"file")
        library.set_int(handle, Option.PAYLOADSIZE, 0)
    else:
        library.set_int(handle, Option.PAYLOADSIZE, MAX_LIVE_MESSAGE_BYTES)
    # drain() waits for the last messages, interruptibly; libsrt's own linger would not be.
    library.set_bytes(handle, Option.LINGER, _LINGER_OFF)
    if url.mode == "caller":
        if url.connect_timeout_ms is not None:
            library.set_int(handle, Option.CONNTIMEO, url.connect_timeout_ms)
        if url.stream_id is not None:
            library.set_bytes(handle, Option.STREAMID, url.stream_id.encode())
    if url.key_length is not None:
        library.set_int(handle, Option.PBKEYLEN, url.key_length)
    if url.passphrase is not None:
        library.set_bytes(handle, Option.PASSPHRASE, url.passphrase.encode())


def _call(library: SrtLibrary, handle: int, url: SrtUrl, address: bytes, channel: Stoppable) -> int | None:
    # libsrt's own time-out ends the wait; the deadline here is for a library that would not report it.
    limit_ms = None if url.connect_timeout_ms is None else url.connect_timeout_ms + 1_000
    # Watched before it is called: an event of before the watch is never reported.
    with closing(Watch(library, handle, EpollEvent.OUT | EpollEvent.ERR)) as watch:
        library.call("connect", handle, address, len(address))
        events = _wait_ready(watch, limit_ms, channel)
    if events is None:
        return None
    if events and library.call("getsockstate", handle) == SocketState.CONNECTED:
        return handle
    reason = library.reject_reason(handle)
    if not events or "timeout" in reason.lower():
        raise MediaTimeoutError(
            f"The SRT peer {url.address} did not answer within {url.connect_timeout_ms} ms; expected a listener there. "
            "Start it first, or raise the option connect_timeout."
        )
    raise MediaError(
        f"The SRT peer {url.address} refused the connection: {reason}; expected it to accept. Compare passphrase, "
        "pbkeylen, streamid and transtype of both ends."
    )


def _listen(library: SrtLibrary, handle: int, url: SrtUrl, address: bytes, channel: Stoppable) -> int | None:
    library.call("bind", handle, address, len(address))
    hook = ListenHook(functools.partial(_judge_caller, library, url))
    if url.stream_id is not None:
        library.call("listen_callback", handle, hook, None)
    # Watched before it listens: a caller of before the watch is never reported.
    with (
        closing(Watch(library, handle, EpollEvent.IN | EpollEvent.ERR)) as watch,
        refusals(library, handle, url.address) as reasons,
    ):
        library.call("listen", handle, 1)
        events = _wait_ready(watch, url.connect_timeout_ms, channel)
    if events is None:
        return None
    if not events:
        refused = f", but for those that were refused ({'; '.join(reasons)})" if reasons else ""
        raise MediaTimeoutError(
            f"No SRT peer called {url.address} within {url.connect_timeout_ms} ms{refused}; expected a caller. Start it"
            f"{', compare the options of both ends,' if reasons else ','} or raise the option connect_timeout."
        )
    return library.call("accept", handle, None, None)


def _judge_caller(
    library: SrtLibrary,
    url: SrtUrl,
    _opaque: object,
    peer: int,
    _version: int,
    _address: object,
    stream_id: bytes | None,
) -> int:
    """Called by libsrt, in its thread, for each caller of a listener that expects a stream id."""
    if url.stream_id is not None and (stream_id or b"") == url.stream_id.encode():
        return 0
    library.call("setrejectreason", peer, _REJECT_FORBIDDEN)
    _logger.warning("An SRT caller of %s was refused: its stream id is not the one expected", url.address)
    return -1


def _wait_ready(watch: Watch, timeout_ms: int | None, channel: Stoppable) -> int | None:
    """Events of the socket; 0 after the time-out; ``None`` once the job shall stop."""
    deadline = None if timeout_ms is None else monotonic() + timeout_ms / 1000
    while not channel.is_stopped():
        events = watch.wait(CHECK_INTERVAL_MS)
        if events:
            return events
        if deadline is not None and monotonic() >= deadline:
            return 0
    return None
