"""One SRT connection: receive messages, send messages, end in good order."""

from __future__ import annotations

import ctypes
import mmap
import threading
from time import monotonic

from mcai_worker_sdk.errors import MediaError, MediaTimeoutError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.srt.libsrt import (
    ERROR_ASYNC_RECEIVE,
    ERROR_ASYNC_SEND,
    ERROR_TIMEOUT,
    EpollEvent,
    Option,
    SocketState,
    SrtCallError,
    SrtLibrary,
    Watch,
)
from mcai_worker_sdk.media.srt.url import SrtUrl
from mcai_worker_sdk.media.waiting import Stoppable

__all__ = [
    "CHECK_INTERVAL_MS",
    "MAX_LIVE_MESSAGE_BYTES",
    "MAX_MESSAGE_BYTES",
    "SrtConnection",
    "close_quietly",
    "peer_idle_ms",
]

#: One packet of 1500 bytes less the IP, UDP and SRT headers: a ``live`` sender's largest message.
MAX_LIVE_MESSAGE_BYTES = 1456
#: The largest message taken from a peer, and sent with ``transtype=file``.
MAX_MESSAGE_BYTES = 8 * 1024 * 1024

#: How long a wait inside libsrt lasts before the stop is looked at.
CHECK_INTERVAL_MS = 100
#: Seconds given to the last messages when the job ended well, and when it was stopped.
_DRAIN_SECONDS = 5.0
_DRAIN_STOPPED_SECONDS = 1.0
_DRAIN_STEP_SECONDS = 0.005
#: How long libsrt waits for any sign of a peer before it gives the connection up, unless the URL's ``timeout`` is
#: longer. A peer that is there and has nothing to send gives one each second.
_PEER_IDLE_MS = 5_000
#: How much longer than ``timeout`` that is: the silence is told first, as what it is.
_PEER_IDLE_MARGIN_MS = 1_000

_logger = get_logger(__name__)


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
            _logger.debug("The SRT peer of %s left at once: %s", url.address, error)

    def _prepare(self) -> None:
        self._watch = Watch(self._library, self._handle, EpollEvent.IN | EpollEvent.ERR)
        self.stream_id = self._library.get_text(self._handle, Option.STREAMID)
        self._library.set_int(self._handle, Option.SNDSYN, 1)
        self._library.set_int(self._handle, Option.SNDTIMEO, CHECK_INTERVAL_MS)

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
        close_quietly(self._library, self._handle)
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
            _logger.debug("SRT connection %s ended: %s", self.url.address, error)
            self._tell_loss()
            return b""
        self._heard_at = monotonic()
        return ctypes.string_at(self._buffer, length)

    def _tell_loss(self) -> None:
        """Warn when the peer may be gone without a goodbye: libsrt tells both alike, but notices one of them late."""
        silence_seconds = monotonic() - self._heard_at
        if not self._closing.is_set() and silence_seconds * 1000 >= peer_idle_ms(self.url):
            _logger.warning(
                "The connection of %s broke after %.0f s of silence; this is taken for its end. A peer that was "
                "killed, or whose network failed, says no goodbye",
                self.url.address,
                silence_seconds,
            )

    def _wait_slice(self) -> None:
        if self._watch is None:
            return
        try:
            self._watch.wait(CHECK_INTERVAL_MS)
        except SrtCallError as error:
            # Closed by us or by the peer: the next look tells which.
            _logger.debug("Waiting for the SRT peer of %s ended: %s", self.url.address, error)

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


def peer_idle_ms(url: SrtUrl) -> int:
    """How long libsrt waits for any sign of the peer of this URL, in milliseconds."""
    own_ms = url.timeout_ms if url.has_own_timeout else None
    return _PEER_IDLE_MS if own_ms is None else max(_PEER_IDLE_MS, own_ms + _PEER_IDLE_MARGIN_MS)


def close_quietly(library: SrtLibrary, handle: int) -> None:
    """Close a socket; one that libsrt has closed already is closed."""
    try:
        library.call("close", handle)
    except SrtCallError as error:
        _logger.debug("Closing an SRT socket failed: %s", error)
