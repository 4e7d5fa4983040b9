"""From the bytes of a document to its XML elements, safely."""

from __future__ import annotations

from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from mcai_worker_sdk.errors import MediaSourceError
from mcai_worker_sdk.media.ebu_tt.names import current_name

__all__ = ["MAX_DEPTH", "MAX_DOCUMENT_BYTES", "document_error", "read_tree"]

#: A document larger than this is no subtitle document.
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
#: Elements within elements. TTML in use stays below ten.
MAX_DEPTH = 64


def read_tree(document: bytes | str) -> Element:
    """
    Parse a document; names of TTML's drafts become those of TTML.

    Raises:
        MediaSourceError: It is no XML, too large, too deep, or declares a document type or an entity.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise document_error(f"has {len(document)} bytes", f"at most {MAX_DOCUMENT_BYTES}")
    try:
        root: Element = fromstring(document, forbid_dtd=True)
    except ParseError as error:
        raise document_error(f"is not well-formed ({error})", "XML") from error
    except DefusedXmlException as error:
        raise document_error("has a document type or an entity declaration", "none") from error
    except (ValueError, LookupError) as error:
        raise document_error(f"cannot be decoded ({error})", "UTF-8, or the encoding it declares") from error
    _check_depth(root)
    if current_name(root.tag) != root.tag:
        _rename(root)
    return root


def _rename(root: Element) -> None:
    """Give a document of one of TTML's drafts the names of today."""
    for element in root.iter():
        element.tag = current_name(element.tag)
        element.attrib = {current_name(name): value for name, value in element.attrib.items()}


def document_error(fault: str, rule: str) -> MediaSourceError:
    """The error for a document, from what is wrong with it and what is expected."""
    return MediaSourceError(f"The TTML document {fault}; expected {rule}. Correct what sends or wrote it.")


def _check_depth(root: Element) -> None:
    level = list(root)
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [child for element in level for child in element]
    raise document_error(f"has elements more than {MAX_DEPTH} deep", "less")
