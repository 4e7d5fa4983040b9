"""Which HTTP proxy an address is reached through, as ``HTTP_PROXY`` and its companions say."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

__all__ = ["NO_PROXIES", "Proxies", "Proxy"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy."""

    variable: str
    """The environment variable that names it."""
    scheme: str
    """``http``, or ``https`` where the connection to the proxy itself is encrypted."""
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Its address as it may be shown: without user name and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Proxies:
    """
    What the environment says of proxies.

    A host of ``bypass`` is reached without one: a name with all names below it, with or without a leading dot or
    ``*.``; ``*``, which is every host; an address; a network (``10.0.0.0/8``). Each may end in ``:PORT``. Case does not
    count. An address that cannot be used as a proxy's is passed over, with a warning: see :meth:`faults`.
    """

    http: str | None = field(default=None, repr=False)
    """Proxy for ``http://`` addresses (``HTTP_PROXY``)."""
    https: str | None = field(default=None, repr=False)
    """Proxy for ``https://`` addresses (``HTTPS_PROXY``)."""
    every: str | None = field(default=None, repr=False)
    """Proxy for both, where theirs is not set (``ALL_PROXY``)."""
    bypass: str = ""
    """Hosts without a proxy (``NO_PROXY``)."""

    def proxy_for(self, address: SplitResult) -> Proxy | None:
        """
        The proxy through which an address is reached, ``None`` for none.

        Args:
            address: ``http://`` or ``https://`` address.

        Raises:
            ValueError: The address has a malformed port.
        """
        own = self.http if address.scheme == "http" else self.https
        variable, value = (f"{address.scheme.upper()}_PROXY", own) if own else ("ALL_PROXY", self.every)
        port = address.port or _DEFAULT_PORTS[address.scheme]
        if not value or self._is_bypassed(address.hostname or "", port):
            return None
        return _read(variable, value)

    def passwords(self) -> list[str]:
        """The proxies' passwords, as they are and as they are written, for masking."""
        written = [
            userinfo.partition(":")[2]
            for value in (self.http, self.https, self.every)
            if value and (userinfo := value.rpartition("://")[2].rpartition("@")[0])
        ]
        return [text for password in written if password for text in (password, unquote(password))]

    def faults(self) -> list[str]:
        """A sentence for each variable whose value is no proxy's address; shows no password."""
        variables = {"HTTP_PROXY": self.http, "HTTPS_PROXY": self.https, "ALL_PROXY": self.every}
        return [
            f"The environment variable {variable} is {_shown(value)!r}; expected http:// or https://, a host and, if "
            "wanted, a port. It is not used: the backend and the credential stores are reached without a proxy."
            for variable, value in variables.items()
            if value and _read(variable, value) is None
        ]

    def _is_bypassed(self, host: str, port: int) -> bool:
        host = host.lower().rstrip(".")
        return any(_matches(entry.lower(), host, port) for entry in re.split(r"[,\s]+", self.bypass) if entry)


#: Every address is reached without a proxy.
NO_PROXIES = Proxies()


def _read(variable: str, value: str) -> Proxy | None:
    """The proxy that a variable names; ``None`` where it names none that can be used."""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port, host = parts.port, parts.hostname
    except ValueError:  # brackets that hold no IPv6 address, a port beyond 65535
        return None
    if parts.scheme not in _DEFAULT_PORTS or not host or re.search(r"\s", value):
        return None
    username, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
    return Proxy(variable, parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], username, password)


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    network = _network(entry)
    if network is None and (with_port := re.fullmatch(r"(.*):(\d+)", entry)):
        if int(with_port[2]) != port:
            return False
        entry = with_port[1]
        network = _network(entry)
    if network is not None:
        address = _network(host)
        return address is not None and address.version == network.version and address.network_address in network
    name = entry.removeprefix("*").removeprefix(".").rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """An address or a network, an address of IPv6 in brackets or without; ``None`` for anything else."""
    try:
        return ipaddress.ip_network(text.removeprefix("[").removesuffix("]"), strict=False)
    except ValueError:
        return None


def _shown(value: str) -> str:
    """The value without what may be a user name and a password."""
    return re.sub(r"(\w+://)?\S*@", r"\1***@", value[:200])
