"""
The system's libsrt, reached with ctypes: finding it, its functions, its numbers, its errors.

PyAV's wheels have no SRT, Debian ships libsrt in two flavours; both are the same C interface. Constants and signatures
are those of ``srt.h`` 1.5. The library is loaded at the first ``srt://`` URL of the process, never at import.
"""

from __future__ import annotations

import atexit
import ctypes
import ctypes.util
import functools
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p

from mcai_worker_sdk.errors import MediaError

__all__ = [
    "ERROR_ASYNC_RECEIVE",
    "ERROR_ASYNC_SEND",
    "ERROR_TIMEOUT",
    "LIBRARY_NAMES",
    "EpollEvent",
    "ListenHook",
    "LogHook",
    "Option",
    "SocketState",
    "SrtLibrary",
    "Watch",
    "load_library",
]

#: Tried in this order. Debian 12 names the OpenSSL flavour ``libsrt.so.1.5``.
LIBRARY_NAMES = ("libsrt-openssl.so.1.5", "libsrt.so.1.5", "libsrt-gnutls.so.1.5")
_LINKER_NAMES = ("srt-openssl", "srt", "srt-gnutls")

#: libsrt returns this for every failure.
_FAILURE = -1
#: syslog's "critical": libsrt writes to stderr by itself, what it would say is in our errors.
_LOG_CRITICAL = 2

ERROR_ASYNC_SEND = 6001
ERROR_ASYNC_RECEIVE = 6002
ERROR_TIMEOUT = 6003


class Option:
    """``SRT_SOCKOPT``: the socket options used here."""

    SNDSYN = 1
    RCVSYN = 2
    FC = 4
    SNDBUF = 5
    RCVBUF = 6
    LINGER = 7
    UDP_RCVBUF = 9
    SNDTIMEO = 13
    TSBPDMODE = 22
    LATENCY = 23
    PASSPHRASE = 26
    PBKEYLEN = 27
    TLPKTDROP = 31
    NAKREPORT = 33
    CONNTIMEO = 36
    STREAMID = 46
    CONGESTION = 47
    PAYLOADSIZE = 49
    PEERIDLETIMEO = 55


class SocketState:
    """``SRT_SOCKSTATUS``."""

    CONNECTED = 5


class EpollEvent(ctypes.Structure):
    """``SRT_EPOLL_EVENT``: one ready socket."""

    IN = 0x1
    OUT = 0x4
    ERR = 0x8
    _fields_ = [("socket", c_int), ("events", c_int)]


#: ``srt_listen_callback_fn``: opaque, socket, handshake version, address, stream id; -1 refuses the caller.
ListenHook = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_void_p, c_char_p)
#: ``SRT_LOG_HANDLER_FN``: opaque, level, file, line, area, message.
LogHook = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_int, c_char_p, c_char_p)

_SIGNATURES: dict[str, tuple[type | None, tuple[object, ...]]] = {
    "srt_startup": (c_int, ()),
    "srt_cleanup": (c_int, ()),
    "srt_setloglevel": (None, (c_int,)),
    "srt_setloghandler": (None, (c_void_p, c_void_p)),
    "srt_getversion": (ctypes.c_uint32, ()),
    "srt_create_socket": (c_int, ()),
    "srt_bind": (c_int, (c_int, c_char_p, c_int)),
    "srt_listen": (c_int, (c_int, c_int)),
    "srt_accept": (c_int, (c_int, c_void_p, c_void_p)),
    "srt_listen_callback": (c_int, (c_int, c_void_p, c_void_p)),
    "srt_setrejectreason": (c_int, (c_int, c_int)),
    "srt_connect": (c_int, (c_int, c_char_p, c_int)),
    "srt_close": (c_int, (c_int,)),
    "srt_getsockstate": (c_int, (c_int,)),
    "srt_getsockflag": (c_int, (c_int, c_int, c_void_p, POINTER(c_int))),
    "srt_setsockflag": (c_int, (c_int, c_int, c_char_p, c_int)),
    "srt_sendmsg": (c_int, (c_int, c_char_p, c_int, c_int, c_int)),
    "srt_recvmsg": (c_int, (c_int, c_void_p, c_int)),
    "srt_getsndbuffer": (c_int, (c_int, POINTER(c_size_t), POINTER(c_size_t))),
    "srt_getlasterror": (c_int, (POINTER(c_int),)),
    "srt_strerror": (c_char_p, (c_int, c_int)),
    "srt_getrejectreason": (c_int, (c_int,)),
    "srt_rejectreason_str": (c_char_p, (c_int,)),
    "srt_epoll_create": (c_int, ()),
    "srt_epoll_add_usock": (c_int, (c_int, c_int, POINTER(c_int))),
    "srt_epoll_uwait": (c_int, (c_int, POINTER(EpollEvent), c_int, c_int64)),
    "srt_epoll_release": (c_int, (c_int,)),
}


class SrtCallError(Exception):
    """
    A libsrt function failed; the connection turns it into an error that names the URL.

    Args:
        code: ``SRT_ERRNO``.
        text: libsrt's words for it.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class SrtLibrary:
    """
    libsrt's functions with checked results. Any thread; ctypes releases the GIL while a function runs.

    Args:
        library: The loaded shared library, already started.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for name, (result_type, argument_types) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype = result_type
            function.argtypes = argument_types

    @property
    def version(self) -> str:
        """``major.minor.patch`` of the library in use."""
        number = int(self._library.srt_getversion())
        return f"{number >> 16}.{number >> 8 & 0xFF}.{number & 0xFF}"

    def call(self, name: str, *arguments: object) -> int:
        """
        Call ``srt_<name>``.

        Raises:
            SrtCallError: It returned -1. The error is libsrt's own of this thread.
        """
        result = int(getattr(self._library, f"srt_{name}")(*arguments))
        if result == _FAILURE:
            raise self._last_error()
        return result

    def set_int(self, socket: int, option: int, value: int) -> None:
        """Set a socket option that is an ``int`` or a ``bool`` in C."""
        self.call("setsockflag", socket, option, value.to_bytes(4, "little", signed=True), 4)

    def set_bytes(self, socket: int, option: int, value: bytes) -> None:
        """Set a socket option that is a string or a structure in C."""
        self.call("setsockflag", socket, option, value, len(value))

    def get_text(self, socket: int, option: int) -> str:
        """Read a socket option that is a string in C."""
        buffer = ctypes.create_string_buffer(1024)
        length = c_int(len(buffer))
        self.call("getsockflag", socket, option, buffer, ctypes.byref(length))
        return buffer.raw[: length.value].decode("utf-8", errors="replace")

    def unsent_blocks(self, socket: int) -> int:
        """Packets the peer has not confirmed yet; 0 when all arrived."""
        blocks, size = c_size_t(), c_size_t()
        return self.call("getsndbuffer", socket, ctypes.byref(blocks), ctypes.byref(size))

    def set_log(self, level: int, hook: object) -> None:
        """Have libsrt log from a level of syslog's up, to a :data:`LogHook` that is kept for good."""
        self._library.srt_setloghandler(None, hook)
        self._library.srt_setloglevel(level)

    def reject_reason(self, socket: int) -> str:
        """Why a connection was refused, in libsrt's words."""
        reason = int(self._library.srt_getrejectreason(socket))
        text: bytes | None = self._library.srt_rejectreason_str(reason)
        return (text or b"unknown").decode("utf-8", errors="replace")

    def _last_error(self) -> SrtCallError:
        system_error = c_int()
        code = int(self._library.srt_getlasterror(ctypes.byref(system_error)))
        text: bytes | None = self._library.srt_strerror(code, system_error.value)
        return SrtCallError(code, (text or b"unknown error").decode("utf-8", errors="replace").rstrip("."))


class Watch:
    """
    libsrt's epoll on one socket, from its making on, so that no event between two waits is missed.

    One thread waits, any may close.

    Args:
        library: The binding.
        socket: The socket to watch.
        events: Which of :class:`EpollEvent` to wait for.

    Raises:
        SrtCallError: The socket does not exist any more.
    """

    def __init__(self, library: SrtLibrary, socket: int, events: int) -> None:
        self._library = library
        self._epoll = library.call("epoll_create")
        self._ready = EpollEvent()
        try:
            library.call("epoll_add_usock", self._epoll, socket, ctypes.byref(c_int(events)))
        except SrtCallError:
            self.close()
            raise

    def wait(self, timeout_ms: int) -> int:
        """
        Wait for one of the events.

        Returns:
            The events that are there; 0 after ``timeout_ms``.

        Raises:
            SrtCallError: The watch or its socket was closed.
        """
        if self._library.call("epoll_uwait", self._epoll, ctypes.byref(self._ready), 1, timeout_ms):
            return int(self._ready.events)
        return 0

    def close(self) -> None:
        """Free the watch; once."""
        self._library.call("epoll_release", self._epoll)


def load_library() -> SrtLibrary:
    """
    Find, load and start libsrt; once per process.

    Raises:
        MediaError: No flavour of libsrt is installed; names the Debian package.
    """
    return _load_once(LIBRARY_NAMES, _LINKER_NAMES)


@functools.cache
def _load_once(names: tuple[str, ...], linker_names: tuple[str, ...]) -> SrtLibrary:
    library = _first_library(names, linker_names)
    binding = SrtLibrary(library)
    library.srt_startup()
    library.srt_setloglevel(_LOG_CRITICAL)
    atexit.register(library.srt_cleanup)
    return binding


def _first_library(names: tuple[str, ...], linker_names: tuple[str, ...]) -> ctypes.CDLL:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    for linker_name in linker_names:
        found = ctypes.util.find_library(linker_name)
        if found is not None:
            return ctypes.CDLL(found)
    raise MediaError(
        f"The library libsrt is not installed (looked for {', '.join(names)}); expected one of its flavours for srt:// "
        "URLs. Install it with: apt-get install libsrt1.5-openssl (or libsrt1.5-gnutls)."
    )
