"""Namespaces and names of TTML and EBU-TT."""

from __future__ import annotations

__all__ = [
    "EBUTTP",
    "PREFIXES",
    "TT",
    "TTM",
    "TTP",
    "TTS",
    "TT_NAMESPACES",
    "XML",
    "current_name",
    "local_name",
]

TT = "http://www.w3.org/ns/ttml"
TTP = f"{TT}#parameter"
TTM = f"{TT}#metadata"
TTS = f"{TT}#styling"
EBUTTP = "urn:ebu:tt:parameters"
XML = "http://www.w3.org/XML/1998/namespace"

#: Namespaces ``tt`` is accepted in: TTML, and none.
TT_NAMESPACES = (TT, "")
#: Those of its drafts, which are still about.
_DRAFTS = ("{http://www.w3.org/2006/10/ttaf1", "{http://www.w3.org/2006/04/ttaf1")

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


def current_name(name: str) -> str:
    """``{namespace}name`` of TTML for that of one of its drafts; any other as it is."""
    if not name.startswith(_DRAFTS):
        return name
    part = name.partition("ttaf1")[2]
    return f"{{{TT}{part.replace('#style}', '#styling}', 1)}"
