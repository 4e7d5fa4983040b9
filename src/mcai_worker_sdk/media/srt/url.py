"""``srt://`` URLs: what the options mean, which are known, which values they take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from mcai_worker_sdk.errors import MediaError

__all__ = ["SrtUrl", "parse_srt_url"]

#: Milliseconds. What existing workers announce.
DEFAULT_LATENCY_MS = 500
#: Milliseconds. libsrt's own default for a caller.
DEFAULT_CONNECT_TIMEOUT_MS = 3_000
#: Milliseconds without a message before a live source counts as silent.
DEFAULT_TIMEOUT_MS = 10_000

_MAX_LATENCY_MS = 60_000
_MAX_TIMEOUT_MS = 86_400_000
_MAX_STREAM_ID_BYTES = 512
_PASSPHRASE_LENGTHS = range(10, 81)
_KEY_LENGTHS = (16, 24, 32)
_PORTS = range(1, 65_536)


@dataclass(frozen=True, slots=True)
class SrtUrl:
    """
    One end of an SRT connection.

    Times are whole milliseconds, as in libsrt's own URLs; FFmpeg's ``latency`` and ``timeout`` are microseconds.
    """

    #: Name or address; empty when a listener takes connections on every address.
    host: str
    #: UDP port.
    port: int
    #: Who waits and who calls. Without ``mode=``: no host makes a listener, a host makes a caller.
    mode: Literal["caller", "listener"]
    #: Announced to the peer, in milliseconds: how long it may hold data back. Here nothing is held back.
    latency_ms: int = DEFAULT_LATENCY_MS
    #: 10 to 80 bytes; ``None`` is no encryption. Never in a repr.
    passphrase: str | None = field(default=None, repr=False)
    #: Key length in bytes: 16, 24 or 32; ``None`` lets libsrt choose.
    key_length: int | None = None
    #: Sent by a caller, expected by a listener; ``None`` takes any.
    stream_id: str | None = None
    #: Milliseconds to wait for the peer; ``None`` (a listener's default) waits until the job is stopped.
    connect_timeout_ms: int | None = None
    #: Milliseconds without a message from the peer; ``None`` (``timeout=0``) is for ever.
    timeout_ms: int | None = DEFAULT_TIMEOUT_MS
    #: True when the URL itself gave ``timeout``.
    has_own_timeout: bool = False
    #: ``live`` is what every SRT tool speaks; ``file`` lets one message be larger than one packet, on both ends.
    transport: Literal["live", "file"] = "live"

    @property
    def address(self) -> str:
        """The URL without its options, for errors and logs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"srt://{host}:{self.port}"


def parse_srt_url(url: str) -> SrtUrl:
    """
    Read an ``srt://`` URL.

    Raises:
        MediaError: Port missing, an option unknown or given twice, or a value out of its range. The text never holds
            the passphrase.
    """
    # "#" begins no fragment here: SRT's own form of a stream id is #!::r=...
    parts = urlsplit(url.replace("#", "%23"))
    host, port = _host_and_port(parts)
    if parts.path not in {"", "/"}:
        raise MediaError(
            f"The URL srt://{parts.netloc} goes on with a path; expected options only, as in "
            "srt://host:port?streamid=x. Put what the path names into the option streamid."
        )
    options = _options(parts)
    mode = _choice(options, "mode", ("caller", "listener")) or ("caller" if host else "listener")
    if mode == "caller" and not host:
        raise _bad_option("mode", "caller", "a host in the URL (srt://host:port?mode=caller)")
    default_connect_timeout = DEFAULT_CONNECT_TIMEOUT_MS if mode == "caller" else None
    timeout_ms = _number(options, "timeout", range(_MAX_TIMEOUT_MS + 1))
    return SrtUrl(
        host=host,
        port=port,
        mode="listener" if mode == "listener" else "caller",
        latency_ms=_latency(options),
        passphrase=_passphrase(options),
        key_length=_key_length(options),
        stream_id=_stream_id(options),
        connect_timeout_ms=_number(options, "connect_timeout", range(1, _MAX_TIMEOUT_MS + 1))
        or default_connect_timeout,
        timeout_ms=DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms or None,
        has_own_timeout=timeout_ms is not None,
        transport="file" if _choice(options, "transtype", ("live", "file")) == "file" else "live",
    )


_KNOWN_OPTIONS = (
    "connect_timeout",
    "latency",
    "mode",
    "passphrase",
    "pbkeylen",
    "streamid",
    "timeout",
    "transtype",
)


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    rule = f"expected a port from {_PORTS.start} to {_PORTS.stop - 1}, as in srt://host:port or srt://:port"
    if "@" in parts.netloc:
        # What stands before the @ may be a password: it is not repeated.
        raise MediaError("The srt:// URL carries a user name; expected none. Use the options streamid and passphrase.")
    try:
        port = parts.port
    except ValueError:
        port = None
    if port is None or port not in _PORTS:
        raise MediaError(f"The port of the URL srt://{parts.netloc} is not usable; {rule}. Correct the URL.")
    return parts.hostname or "", port


def _options(parts: SplitResult) -> dict[str, str]:
    options: dict[str, str] = {}
    # "+" is an ordinary character of a passphrase or a stream id here, as in libsrt's own URLs.
    for name, value in parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True):
        if name not in _KNOWN_OPTIONS:
            raise MediaError(
                f"The SRT option {name} is not known; expected one of {', '.join(_KNOWN_OPTIONS)}. "
                "Remove it from the URL."
            )
        if name in options:
            raise MediaError(f"The SRT option {name} is given twice; expected once. Correct the URL.")
        options[name] = value
    return options


def _bad_option(name: str, value: object, rule: str) -> MediaError:
    return MediaError(f"The SRT option {name} is {value!r}; expected {rule}. Correct the URL.")


def _choice(options: dict[str, str], name: str, allowed: tuple[str, ...]) -> str | None:
    value = options.get(name)
    if value is not None and value not in allowed:
        raise _bad_option(name, value, " or ".join(allowed))
    return value


def _number(options: dict[str, str], name: str, allowed: range, rule: str | None = None) -> int | None:
    value = options.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()) or int(value) not in allowed:
        raise _bad_option(name, value, rule or f"whole milliseconds from {allowed.start} to {allowed.stop - 1}")
    return int(value)


def _latency(options: dict[str, str]) -> int:
    rule = f"whole milliseconds from 0 to {_MAX_LATENCY_MS} (FFmpeg's own option is microseconds)"
    latency_ms = _number(options, "latency", range(_MAX_LATENCY_MS + 1), rule)
    return DEFAULT_LATENCY_MS if latency_ms is None else latency_ms


def _key_length(options: dict[str, str]) -> int | None:
    rule = "16, 24 or 32 bytes"
    key_length = _number(options, "pbkeylen", range(_KEY_LENGTHS[-1] + 1), rule)
    if key_length is not None and key_length not in _KEY_LENGTHS:
        raise _bad_option("pbkeylen", options["pbkeylen"], rule)
    return key_length


def _passphrase(options: dict[str, str]) -> str | None:
    passphrase = options.get("passphrase")
    if not passphrase:
        return None
    length = len(passphrase.encode())
    if length not in _PASSPHRASE_LENGTHS:
        raise MediaError(
            f"The SRT option passphrase has {length} bytes; expected {_PASSPHRASE_LENGTHS.start} to "
            f"{_PASSPHRASE_LENGTHS.stop - 1}. Correct the URL on both ends."
        )
    return passphrase


def _stream_id(options: dict[str, str]) -> str | None:
    stream_id = options.get("streamid")
    if stream_id is not None and len(stream_id.encode()) > _MAX_STREAM_ID_BYTES:
        raise MediaError(
            f"The SRT option streamid has {len(stream_id.encode())} bytes; expected at most {_MAX_STREAM_ID_BYTES}. "
            "Shorten it."
        )
    return stream_id or None
