"""White space of TTML: what is collapsed across elements, what is kept, and what is no white space."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcai_worker_sdk.media.ebu_tt import parse_ebu_tt, timed_texts, to_xml
from mcai_worker_sdk.media.text.subtitles import cues_from_packet

NO_BREAK, IDEOGRAPHIC = "\u00a0", "\u3000"
#: The rest of what Python takes for white space.
OTHERS = "\u0085\u1680\u2003\u2009\u2028\u202f\u205f"


def document(paragraph: str, attributes: str = "") -> bytes:
    return (
        f'<tt xmlns="http://www.w3.org/ns/ttml" xmlns:tts="http://www.w3.org/ns/ttml#styling" {attributes}>'
        f"<body><div>{paragraph}</div></body></tt>"
    ).encode()


def text_of(paragraph: str, attributes: str = "") -> str:
    """The text of a paragraph, which its only cue and the document give alike."""
    parsed = parse_ebu_tt(document(paragraph, attributes))
    assert parse_ebu_tt(to_xml(parsed)) == parsed
    (timed,) = timed_texts(parsed)
    assert timed.text == parsed.text
    return timed.text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Hello <span> world</span>", "Hello world"),
        ("<span>Hello </span> world", "Hello world"),
        ("<span>Hello </span><span> world</span>", "Hello world"),
        ("<span>Hello</span> <span>world</span>", "Hello world"),
        ("<span>Hello</span><span>world</span>", "Helloworld"),
        ("Hello<span> </span> <span> </span>world", "Hello world"),
        ("<span><span>Hello </span> </span>\n<span> world </span> ", "Hello world"),
        (" <span> </span> Hello", "Hello"),
        ("Hello <span> </span> ", "Hello"),
        ("Hello <metadata/> world", "Hello world"),
        ("<span>a </span><br/><span> b</span>", "a\nb"),
        ("a <br/> b", "a\nb"),
        ("a\n   <br/>\n   b", "a\nb"),
        ("<span>a <br/> b</span>", "a\nb"),
        ("a <span> <br/> </span> b", "a\nb"),
        ("a<br/> <br/>b", "a\n\nb"),
        ("a\tb\nc&#13;&#10; d", "a b c d"),
        ("\n      a\n      b\n    ", "a b"),
    ],
)
def test_white_space_collapses_across_elements_and_beside_breaks(content, text):
    assert text_of(f"<p>{content}</p>") == text


@pytest.mark.parametrize("space", [NO_BREAK, IDEOGRAPHIC, *OTHERS])
def test_other_spaces_are_characters_like_any_other(space):
    assert text_of(f"<p>{space}a{space}{space}b{space}</p>") == f"{space}a{space}{space}b{space}"
    assert text_of(f"<p>a {space} <br/> {space} b</p>") == f"a {space}\n{space} b"
    # A line of nothing else is one that is shown.
    assert text_of(f"<p> {space} </p>") == space


@pytest.mark.parametrize(
    ("paragraph", "attributes", "text"),
    [
        ('<p xml:space="preserve">  a  b </p>', "", "  a  b "),
        ("<p>  a  b </p>", 'xml:space="preserve"', "  a  b "),
        ('<p xml:space="default">  a  b </p>', 'xml:space="preserve"', "a b"),
        # Line feeds are line breaks where they are preserved.
        ('<p xml:space="preserve">a\n b</p>', "", "a\n b"),
        ('<p xml:space="preserve"> <span>a</span> <br/> b</p>', "", " a \n b"),
        ('<p> a <span xml:space="preserve"> b  c </span> d </p>', "", "a  b  c d"),
        ('<p xml:space="preserve"> a <span xml:space="default"> b  c </span> d </p>', "", " a b c  d "),
        ('<p>a <span xml:space="preserve">\nb</span></p>', "", "a\nb"),
    ],
)
def test_white_space_is_kept_where_the_document_says_so(paragraph, attributes, text):
    assert text_of(paragraph, attributes) == text


def test_what_is_left_of_a_paragraph_is_collapsed_again():
    hidden = '<span tts:display="none"> x </span>'
    for content, text in [
        (f"Hello {hidden} world", "Hello world"),
        (f"{hidden} Hello", "Hello"),
        (f"Hello {hidden}", "Hello"),
        (f"a {hidden} <br/> b", "a\nb"),
    ]:
        (timed,) = timed_texts(parse_ebu_tt(document(f"<p>{content}</p>")))
        assert timed.text == text


def test_white_space_and_breaks_between_texts_of_one_time_join_them():
    timed = '<span begin="1s" end="2s">{}</span>'
    for between, text in [(" ", "a b"), ("<br/>", "a\nb"), (" <br/> ", "a\nb"), ("", "ab")]:
        paragraph = f"<p>{timed.format('a')}{between}{timed.format('b')}</p>"
        assert [cue.text for cue in timed_texts(parse_ebu_tt(document(paragraph)))] == [text]
    apart = f"<p>{timed.format('a ')} <br/> <span begin='2s'> b</span></p>"
    assert [cue.text for cue in timed_texts(parse_ebu_tt(document(apart)))] == ["a", "b"]


CONTENT = st.recursive(
    st.sampled_from([" ", "\t", "\n", "a", "b", NO_BREAK, "<br/>"]),
    lambda inner: st.lists(inner, max_size=6).map("".join) | inner.map(lambda part: f"<span>{part}</span>"),
    max_leaves=20,
)


@given(CONTENT)
def test_no_collapsed_text_has_white_space_in_a_row_or_at_the_ends_of_a_line(content):
    text = parse_ebu_tt(document(f"<p>{content}</p>")).text

    for line in text.split("\n"):
        assert "  " not in line
        assert line == line.strip(" \t\r\n")
    assert text.replace(" ", "") == re.sub(r"<br/>", "\n", re.sub(r"</?span>|[ \t\n]", "", content))


def test_titles_keep_spaces_that_are_no_white_space():
    xml = (
        '<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata"><head><metadata>'
        f"<ttm:title> 東京{IDEOGRAPHIC}物語\n  (1953) </ttm:title></metadata></head></tt>"
    )
    title = parse_ebu_tt(xml).head.metadata.title

    assert title.content == f"東京{IDEOGRAPHIC}物語 (1953)"


@pytest.mark.parametrize("space", [NO_BREAK, IDEOGRAPHIC, *OTHERS])
@pytest.mark.parametrize("codec", ["subrip", "srt", "webvtt", "mov_text", "ass", "ssa", "text"])
def test_other_spaces_stay_in_every_codec(codec, space):
    text = f"{space}a{space}"
    packed = f" \r\n{text}\t\n ".encode()
    if codec in {"ass", "ssa"}:
        packed = b"0,0,Default,,0,0,0,," + packed
    elif codec == "mov_text":
        packed = len(packed).to_bytes(2, "big") + packed

    (cue,) = cues_from_packet(codec, packed, 0.0, 1.0)

    assert cue.text == text


def test_a_no_break_space_of_webvtt_stays():
    assert [cue.text for cue in cues_from_packet("webvtt", b"&nbsp;", 0.0, 1.0)] == [NO_BREAK]
