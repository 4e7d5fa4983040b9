"""Namespaces and names of TTML and EBU-TT."""

from __future__ import annotations

__all__ = [
    "EBUTTP",
    "PREFIXES",
    "TT",
    "TTM",
    "TTP",
    "TT_NAMESPACES",
    "XML",
    "local_name",
]

TT = "http://www.w3.org/ns/ttml"
TTP = f"{TT}#parameter"
TTM = f"{TT}#metadata"
TTS = f"{TT}#styling"
EBUTTP = "urn:ebu:tt:parameters"
XML = "http://www.w3.org/XML/1998/namespace"

#: Namespaces ``tt`` is accepted in: TTML, its drafts, which are still about, and none.
TT_NAMESPACES = (TT, "http://www.w3.org/2006/10/ttaf1", "http://www.w3.org/2006/04/ttaf1", "")

#: The prefixes documents are written with.
PREFIXES = {
    TT: "tt",
    TTP: "ttp",
    TTM: "ttm",
    TTS: "tts",
    EBUTTP: "ebuttp",
    "urn:ebu:tt:metadata": "ebuttm",
    "urn:ebu:tt:style": "ebutts",
    XML: "xml",
}


def local_name(name: str) -> str:
    """``p`` for ``{namespace}p``."""
    return name.rpartition("}")[2]
