"""Environment variables that were meant for the SDK and are not read: told at the start, with the name that is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

__all__ = ["near_misses"]

#: How alike two names must be, from 0 to 1: more than ``AMQP_URL`` and ``AMQP_TLS`` are.
_ALIKE = 0.8

#: What a variable begins with that is meant for the SDK.
_PREFIXES = (
    "AMQP_",
    "BACKEND_",
    "DESCRIB",
    "DIRECT_MESSAGING_",
    "FILE_LOG",
    "MCAI_",
    "MESSAGE_",
    "ONLY_JSON",
    "SOURCE_ORDER",
)

#: What a variable of a credential store ends in; whatever stands before may be the name of one.
_OF_STORES = ("_HOSTNAME", "_USERNAME", "_PASSWORD", "_TOKEN")


def near_misses(environ: Mapping[str, str], known: Mapping[str, Collection[str]]) -> list[str]:
    """
    A sentence for each variable that is nearly one the SDK reads, where that one is not set.

    Args:
        environ: The environment.
        known: Every variable the SDK reads, and the names that say the same, itself among them.
    """
    return [
        f"The environment variable {name} is not read; expected {meant}, which is unset. Correct the name."
        for name, meant in sorted(_pairs(environ, known))
    ]


def _pairs(environ: Mapping[str, str], known: Mapping[str, Collection[str]]) -> Iterator[tuple[str, str]]:
    of_same_letters = {_letters(variable): variable for variable in known}
    for name in environ.keys() - known.keys():
        upper = name.upper().replace("-", "_")
        meant = upper if upper in known else of_same_letters.get(_letters(upper)) or _nearest(upper, known)
        if meant is not None and environ[name] and not any(environ.get(same) for same in known[meant]):
            yield name, meant


def _letters(name: str) -> tuple[str, ...]:
    """What two names share that differ only in the order of some letters: ``AMPQ_HOSTNAME`` and its right form."""
    return tuple(sorted(name))


def _nearest(name: str, known: Collection[str]) -> str | None:
    if name.endswith(_OF_STORES) or not name.startswith(_PREFIXES) or name.endswith("_"):
        return None
    begun = [variable for variable in known if variable.startswith(name)]
    if begun:
        return min(begun, key=len)
    # Here, not at the top: few environments hold anything to compare.
    import difflib

    alike = difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)
    begins = [variable for variable in known if name.startswith(f"{variable}_")]
    return alike[0] if alike else max(begins, key=len, default=None)
