"""One SRT connection: wait for a peer or call one, receive messages, send messages, end in good order."""

from __future__ import annotations

import ctypes
import functools
import mmap
import socket
import struct
import threading
from contextlib import closing
from time import monotonic

from mcai_worker_sdk.errors import MediaError, MediaTimeoutError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.srt.libsrt import (
    ERROR_ASYNC_RECEIVE,
    ERROR_ASYNC_SEND,
    ERROR_TIMEOUT,
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
from mcai_worker_sdk.media.srt.url import SrtUrl
from mcai_worker_sdk.media.stops import Stoppable

__all__ = ["MAX_LIVE_MESSAGE_BYTES", "MAX_MESSAGE_BYTES", "SrtConnection", "open_connection"]

#: One packet of 1500 bytes less the IP, UDP and SRT headers: a ``live`` sender's largest message.
MAX_LIVE_MESSAGE_BYTES = 1456
#: The largest message taken from a peer, and sent with ``transtype=file``.
MAX_MESSAGE_BYTES = 8 * 1024 * 1024

#: How long a wait inside libsrt lasts before the stop is looked at.
_SLICE_MS = 100
#: Packets in flight and packets held for us: 48 MiB at most, taken by libsrt only as they fill.
_WINDOW_PACKETS = 32_768
_BUFFER_BYTES = _WINDOW_PACKETS * 1_472
_UDP_BUFFER_BYTES = 4 * 1024 * 1024
#: Seconds given to the last messages when the job ended well, and when it was stopped.
_DRAIN_SECONDS = 5.0
_DRAIN_STOPPED_SECONDS = 1.0
_DRAIN_STEP_SECONDS = 0.005
#: ``SRT_REJX_FORBIDDEN``.
_REJECT_FORBIDDEN = 1403
_LINGER_OFF = struct.pack("ii", 0, 0)
#: How long libsrt waits for any sign of a peer before it gives the connection up, unless the URL's ``timeout`` is
#: longer. A peer that is there and has nothing to send gives one each second.
_PEER_IDLE_MS = 5_000
#: How much longer than ``timeout`` that is: the silence is told first, as what it is.
_PEER_IDLE_MARGIN_MS = 1_000

_log = get_logger(__name__)


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
        find_peer = _listen if url.mode == "listener" else _connect
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
            _close_quietly(library, each)
    return connection


class SrtConnection:
    """
    A connected peer. One thread receives, one (the same or another) sends; ``close`` may come from any.

    Args:
        library: The binding.
        handle: libsrt's socket, connected.
        url: What it was made from.
        channel: The job's channel, or what asks it; its stop ends every wait.
    """

    def __init__(self, library: SrtLibrary, handle: int, url: SrtUrl, channel: Stoppable) -> None:
        self._library = library
        self._handle = handle
        self._channel = channel
        self._closing = threading.Event()
        self._close_lock = threading.Lock()
        # Mapped rather than allocated: a page costs memory only once a message was that long.
        self._buffer = (ctypes.c_char * MAX_MESSAGE_BYTES).from_buffer(mmap.mmap(-1, MAX_MESSAGE_BYTES))
        self._watch: Watch | None = None
        # When the peer was last heard of, by a message of its.
        self._heard_at = monotonic()
        self.url = url
        #: The stream id of the connection, ours or the caller's; empty when none was given.
        self.stream_id = ""
        try:
            self._prepare()
        except SrtCallError as error:
            # The peer left in the instant it was accepted: the first receive() tells it like any other end.
            _log.debug("The SRT peer of %s left at once: %s", url.address, error)

    def _prepare(self) -> None:
        self._watch = Watch(self._library, self._handle, EpollEvent.IN | EpollEvent.ERR)
        self.stream_id = self._library.get_text(self._handle, Option.STREAMID)
        self._library.set_int(self._handle, Option.SNDSYN, 1)
        self._library.set_int(self._handle, Option.SNDTIMEO, _SLICE_MS)

    def receive(self, timeout_ms: int | None) -> bytes | None:
        """
        Wait for the next message.

        Args:
            timeout_ms: How long silence may last, in milliseconds; ``None`` is for ever.

        Returns:
            The message; ``b""`` once the peer has closed and everything it sent was returned; ``None`` when the job
            was asked to stop or :meth:`close` was called.

        Raises:
            MediaTimeoutError: No message came within ``timeout_ms``.
        """
        deadline = None if timeout_ms is None else monotonic() + timeout_ms / 1000
        while not self._closing.is_set() and not self._channel.is_stopped():
            message = self._receive_now()
            if message is not None:
                return message
            self._wait_slice()
            if deadline is not None and monotonic() >= deadline:
                raise MediaTimeoutError(
                    f"The SRT peer of {self.url.address} is connected and sent nothing for {timeout_ms} ms; expected "
                    "data. Check the sender, or raise the option timeout."
                )
        return None

    def send(self, message: bytes) -> bool:
        """
        Send one message and return once libsrt has taken it.

        Returns:
            False when the job was asked to stop before there was room for it.

        Raises:
            MediaError: The message is empty or too large for the transport, or the peer is gone.
            MediaTimeoutError: The peer took nothing for ``timeout`` milliseconds.
        """
        self._check_size(message)
        timeout_ms = self.url.timeout_ms
        deadline = None if timeout_ms is None else monotonic() + timeout_ms / 1000
        while True:
            try:
                self._library.call("sendmsg", self._handle, message, len(message), -1, 1)
            except SrtCallError as error:
                if error.code not in (ERROR_TIMEOUT, ERROR_ASYNC_SEND):
                    raise MediaError(
                        f"The SRT peer of {self.url.address} took no more messages: {error}. Check the receiver."
                    ) from error
            else:
                return True
            if self._closing.is_set() or self._channel.is_stopped():
                return False
            if deadline is not None and monotonic() >= deadline:
                raise MediaTimeoutError(
                    f"The SRT peer of {self.url.address} took nothing for {timeout_ms} ms; expected it to read. Check "
                    "the receiver, or raise the option timeout."
                )

    def drain(self) -> bool:
        """Wait until the peer has confirmed what was sent; at most 5 s, 1 s once the job is stopped.

        Returns:
            True when everything was confirmed.
        """
        started_at = monotonic()
        while self._is_connected():
            try:
                if self._library.unsent_blocks(self._handle) == 0:
                    return True
            except SrtCallError:
                return False
            limit = _DRAIN_STOPPED_SECONDS if self._channel.is_stopped() else _DRAIN_SECONDS
            if monotonic() - started_at > limit:
                return False
            # libsrt has no event for "all confirmed"; this runs once, for the round trip of the last packets.
            self._closing.wait(_DRAIN_STEP_SECONDS)
        return False

    def close(self) -> None:
        """Close the connection; a waiting ``receive`` returns. Idempotent."""
        with self._close_lock:
            if self._closing.is_set():
                return
            self._closing.set()
        _close_quietly(self._library, self._handle)
        if self._watch is not None:
            self._watch.close()

    def _is_connected(self) -> bool:
        return not self._closing.is_set() and self._library.call("getsockstate", self._handle) == SocketState.CONNECTED

    def _receive_now(self) -> bytes | None:
        """The message at hand, ``None`` when there is none yet.

        Never in libsrt's blocking mode: a receive that waits there when the peer closes takes the next message from
        the buffer and then answers that the connection is lost, and the message is gone.
        """
        try:
            length = self._library.call("recvmsg", self._handle, self._buffer, len(self._buffer))
        except SrtCallError as error:
            if error.code == ERROR_ASYNC_RECEIVE:
                return None
            _log.debug("SRT connection %s ended: %s", self.url.address, error)
            self._tell_loss()
            return b""
        self._heard_at = monotonic()
        return ctypes.string_at(self._buffer, length)

    def _tell_loss(self) -> None:
        """Warn when the peer may be gone without a goodbye: libsrt tells both alike, but notices one of them late."""
        silence_seconds = monotonic() - self._heard_at
        if not self._closing.is_set() and silence_seconds * 1000 >= _peer_idle_ms(self.url):
            _log.warning(
                "The connection of %s broke after %.0f s of silence; this is taken for its end. A peer that was "
                "killed, or whose network failed, says no goodbye",
                self.url.address,
                silence_seconds,
            )

    def _wait_slice(self) -> None:
        if self._watch is None:
            return
        try:
            self._watch.wait(_SLICE_MS)
        except SrtCallError as error:
            # Closed by us or by the peer: the next look tells which.
            _log.debug("Waiting for the SRT peer of %s ended: %s", self.url.address, error)

    def _check_size(self, message: bytes) -> None:
        limit = MAX_LIVE_MESSAGE_BYTES if self.url.transport == "live" else MAX_MESSAGE_BYTES
        if 0 < len(message) <= limit:
            return
        remedy = "Make the result smaller"
        if self.url.transport == "live":
            remedy += ", or use the option transtype=file on both ends"
        raise MediaError(
            f"The SRT message for {self.url.address} has {len(message)} bytes; expected 1 to {limit} with "
            f"transtype={self.url.transport}. {remedy}."
        )


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


def _peer_idle_ms(url: SrtUrl) -> int:
    own_ms = url.timeout_ms if url.has_own_timeout else None
    return _PEER_IDLE_MS if own_ms is None else max(_PEER_IDLE_MS, own_ms + _PEER_IDLE_MARGIN_MS)


def _configure(library: SrtLibrary, handle: int, url: SrtUrl) -> None:
    for option in (Option.RCVSYN, Option.SNDSYN):
        library.set_int(handle, option, 0)
    library.set_int(handle, Option.LATENCY, url.latency_ms)
    library.set_int(handle, Option.PEERIDLETIMEO, _peer_idle_ms(url))
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


def _connect(library: SrtLibrary, handle: int, url: SrtUrl, address: bytes, channel: Stoppable) -> int | None:
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
    _log.warning("An SRT caller of %s was refused: its stream id is not the one expected", url.address)
    return -1


def _wait_ready(watch: Watch, timeout_ms: int | None, channel: Stoppable) -> int | None:
    """Events of the socket; 0 after the time-out; ``None`` once the job shall stop."""
    deadline = None if timeout_ms is None else monotonic() + timeout_ms / 1000
    while not channel.is_stopped():
        events = watch.wait(_SLICE_MS)
        if events:
            return events
        if deadline is not None and monotonic() >= deadline:
            return 0
    return None


def _close_quietly(library: SrtLibrary, handle: int) -> None:
    try:
        library.call("close", handle)
    except SrtCallError as error:
        _log.debug("Closing an SRT socket failed: %s", error)
