"""Secrets are masked in everything that is logged, reported or published."""

from __future__ import annotations

import json
import threading
from typing import Final
from urllib.parse import quote, quote_plus

__all__ = ["MOST_SECRETS", "any_secret_is_known", "mask", "mask_secret"]

#: Characters. A shorter secret cannot be told from ordinary text; masking it would make the log unreadable.
SHORTEST_SECRET: Final = 4
#: Secrets kept for masking, the newest ones: a worker that lives long meets a new session token with each job.
MOST_SECRETS: Final = 1000
_MASKED = "***"


class _Secrets:
    """The texts to be masked, in every spelling in which they may get into a line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest_last: dict[str, None] = {}
        self._longest_first: tuple[str, ...] = ()

    def add(self, secret: str) -> None:
        """Mask it from now on; the oldest gives way when there are too many."""
        with self._lock:
            for text in {secret, secret.strip()}:
                if len(text.strip()) >= SHORTEST_SECRET:
                    self._newest_last.pop(text, None)
                    self._newest_last[text] = None
            while len(self._newest_last) > MOST_SECRETS:
                del self._newest_last[next(iter(self._newest_last))]
            spellings = {spelling for text in self._newest_last for spelling in _spellings(text)}
            self._longest_first = tuple(sorted(spellings, key=len, reverse=True))

    @property
    def are_known(self) -> bool:
        """Whether there is anything to mask."""
        return bool(self._longest_first)

    def mask(self, text: str) -> str:
        """The text without them; the longest first, because one may contain another."""
        for secret in self._longest_first:
            if secret in text:
                text = text.replace(secret, _MASKED)
        return text


def _spellings(secret: str) -> set[str]:
    """A secret as text, inside a Python literal, inside a JSON string, and inside a URL."""
    return {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, errors="surrogatepass"),
        quote(secret, safe="", errors="surrogatepass"),
        quote_plus(secret, errors="surrogatepass"),
    }


_secrets = _Secrets()


def mask_secret(secret: str) -> None:
    """
    Show this text as ``***`` from now on, in every line that is logged and in :func:`mask`.

    Args:
        secret: A password or token. Texts under 4 characters are not masked: they occur in any line by chance.
    """
    _secrets.add(secret)


def mask(text: str) -> str:
    """The text with every known secret shown as ``***``."""
    return _secrets.mask(text)


def any_secret_is_known() -> bool:
    """Whether there is anything to mask."""
    return _secrets.are_known
