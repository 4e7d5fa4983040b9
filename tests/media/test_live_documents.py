"""Documents cut out of messages: wherever they begin and end, and whatever stands in them."""

import logging
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcai_worker_sdk.media.sources.documents.assembler import MAX_DOCUMENT_BYTES, DocumentAssembler

TT = b'<tt xmlns="http://www.w3.org/ns/ttml"><body><div><p>text</p></div></body></tt>'
DECLARED = b'<?xml version="1.0" encoding="UTF-8"?>\n' + TT

DOCUMENTS = [
    TT,
    DECLARED,
    b"\xef\xbb\xbf" + DECLARED,
    b'<tt:tt xmlns:tt="http://www.w3.org/ns/ttml" a=">"/>',
    b"<a/>",
    b"<a x='/>' y=\"/a>\"/>",
    b"<a><a><a/></a>< /a></a>".replace(b"< /a>", b""),
    b"<a><![CDATA[</a><a>]]><!-- </a> --><?pi </a>?>&lt;/a></a >",
    b"<!-- <b> --><!DOCTYPE a [<!ELEMENT a ANY>]><a>1</a>",
    b"<?xml version='1.0' encoding='iso-8859-1'?><a>\xe9</a><!-- behind --><?pi?>",
    b'{"a": "}]\\"", "b": [{}, "\\\\"]}',
    b'[1, [2], "{"]',
    b"{}",
]
BEHIND = [b"", b"\n", b"\0", b"\r\n\0", b" "]


def feed_all(*messages: bytes) -> list[bytes]:
    assembler = DocumentAssembler()
    return [document for message in messages for document in assembler.feed(message)] + assembler.flush()


def core(document: bytes) -> bytes:
    """A document without what may as well belong to the one beside it."""
    return re.sub(rb"^\xef\xbb\xbf|<!--.*?-->|<\?pi.*?\?>", b"", document).strip()


def chunks(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 100, 1316, 10**6])
def test_a_row_of_bytes_is_cut_into_its_documents(size):
    row = b"\n".join(DOCUMENTS)

    assert [core(document) for document in feed_all(*chunks(row, size))] == [core(document) for document in DOCUMENTS]


@given(
    st.lists(st.tuples(st.sampled_from(DOCUMENTS), st.sampled_from(BEHIND)), min_size=1, max_size=6),
    st.lists(st.integers(1, 200), min_size=1, max_size=20),
)
def test_documents_are_the_same_however_they_are_cut(parts, sizes):
    row = b"".join(document + behind for document, behind in parts)
    messages, start = [], 0
    for size in sizes:
        messages.append(row[start : start + size])
        start += size
    messages.append(row[start:])

    documents = feed_all(*(message for message in messages if message))

    assert [core(document) for document in documents] == [core(document) for document, _ in parts]


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("behind", BEHIND)
def test_a_message_that_is_a_whole_document_is_passed_on_at_once(document, behind):
    assembler = DocumentAssembler()

    assert [found.strip() for found in assembler.feed(document + behind)] == [document]
    assert assembler.flush() == []


def test_a_document_is_passed_on_with_its_last_byte():
    assembler = DocumentAssembler()

    assert [assembler.feed(part) for part in chunks(DECLARED, 1)][:-1] == [[]] * (len(DECLARED) - 1)
    assert assembler.feed(b"\n") == []


def test_a_declaration_apart_from_its_document_stays_with_it():
    declaration, _, document = DECLARED.partition(b"\n")

    assert feed_all(declaration, document, TT) == [declaration + document, TT]


@pytest.mark.parametrize("comment", [b"<!-- sent by x -->", b"<!-- sent", b"<?pi?>\n"])
def test_what_stands_between_documents_spoils_none(comment, caplog):
    caplog.set_level(logging.INFO)
    rest = b" by x -->" if comment == b"<!-- sent" else b""

    documents = feed_all(DECLARED, comment, rest + DECLARED, comment + rest)

    assert [DECLARED in document and len(document) < len(DECLARED) + 30 for document in documents] == [True, True]
    assert "comments that belong to no document" in caplog.text


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        # The end of the first was lost.
        ([DECLARED[:60], DECLARED], [DECLARED[:60], DECLARED]),
        ([TT[:60], TT], [TT[:60], TT]),
        ([DECLARED[:60] + DECLARED + DECLARED], [DECLARED[:60], DECLARED, DECLARED]),
        ([TT[:30] + DECLARED], [TT[:30], DECLARED]),
        ([b'{"a": 1, ', DECLARED], [b'{"a": 1, ', DECLARED]),
        # Its middle was.
        ([DECLARED[:60], b"</div></body></tt>\n" + TT], [DECLARED[:60] + b"</div></body></tt>\n", TT]),
        # Its begin was.
        ([b"xt</p></div></body></tt>\n" + DECLARED], [b"xt</p></div></body></tt>\n", DECLARED]),
        ([b"</p></div></body></tt>\n" + DECLARED, TT], [b"</p></div></body></tt>\n", DECLARED, TT]),
        # It was broken by who wrote it.
        ([b"<tt><p></tt>" + TT], [b"<tt><p></tt>", TT]),
        ([b'<?xml version="1.0" encoding="klingon"?><tt></tt>', TT],
         [b'<?xml version="1.0" encoding="klingon"?><tt></tt>', TT]),
        ([b"\xef\xbb\xbf<?xml version='1.0'?><\xc3\xa9><p></\xc3\xa9>\n", TT],
         [b"\xef\xbb\xbf<?xml version='1.0'?><\xc3\xa9><p></\xc3\xa9>\n", TT]),
        ([b"<!-- broken -- " + TT + b"<!-- x -->", DECLARED],
         [b"<!-- broken -- " + TT + b"<!-- x -->", DECLARED]),
        # It is none.
        ([b"plain words", b"\0\1", TT], [b"plain words", b"\0\1", TT]),
        ([b"\0\1garbage" + DECLARED], [b"\0\1garbage", DECLARED]),
        ([b" \n", TT, b"\0", b"\n"], [TT]),
    ],
)  # fmt: skip
def test_what_is_broken_spoils_nothing_else(messages, expected):
    assert feed_all(*messages) == expected


def test_utf_16_is_taken_as_it_comes():
    document = '<?xml version="1.0" encoding="utf-16"?><a>é</a>'.encode("utf-16")

    assert feed_all(document, document[2:], TT) == [document, document[2:], TT]


def test_entities_are_never_made_of_what_stands_for_them():
    laughs = "".join(f'<!ENTITY {chr(98 + n)} "&{chr(97 + n)};&{chr(97 + n)};">' for n in range(24))
    document = f'<!DOCTYPE a [<!ENTITY a "ha">{laughs}]><a>&y;</a>'.encode()

    begin = time.process_time()
    assert feed_all(document, TT) == [document, TT]
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("begin", [b"<a>", b"{", b"<a></b>", b"<!--", b"</a>", b'<a b="', b'["'])
def test_what_never_ends_is_passed_on_at_the_limit(begin, caplog):
    assembler, fed = DocumentAssembler(), 0
    documents, started = assembler.feed(begin), time.process_time()
    while not documents:
        documents += assembler.feed(b"x" * 1456)
        fed += 1456

    assert time.process_time() - started < 20
    assert [len(document) for document in documents] == [len(begin) + fed]
    assert MAX_DOCUMENT_BYTES < fed + len(begin) <= MAX_DOCUMENT_BYTES + 1456
    assert "does not end within" in caplog.text
    assert assembler.feed(TT) == [TT]


@pytest.mark.parametrize("document", [b"<a/>", b"{}"])
def test_many_documents_in_one_large_message_are_cut_in_reasonable_time(document):
    started = time.process_time()

    assert feed_all(document * 20_000) == [document] * 20_000
    assert time.process_time() - started < 10
