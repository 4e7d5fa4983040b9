"""EBU-TT documents: what the object model holds, and what is refused."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcai_worker_sdk.errors import MediaSourceError
from mcai_worker_sdk.media.ebu_tt import (
    Body,
    Break,
    ClockTime,
    Div,
    EbuTtDocument,
    Frames,
    OffsetTime,
    Paragraph,
    Span,
    TimeExpression,
    parse_ebu_tt,
    timed_texts,
    to_xml,
)

LIVE = b"""<?xml version="1.0" encoding="UTF-8"?>
<tt:tt xmlns:tt="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter"
       xmlns:tts="http://www.w3.org/ns/ttml#styling" xmlns:ttm="http://www.w3.org/ns/ttml#metadata"
       xmlns:ebuttp="urn:ebu:tt:parameters" xmlns:ebuttm="urn:ebu:tt:metadata"
       xml:lang="fr-FR" ttp:timeBase="clock" ttp:clockMode="utc" ttp:cellResolution="50 30"
       ebuttp:sequenceIdentifier="live-1" ebuttp:sequenceNumber="42">
  <tt:head>
    <tt:metadata>
      <ttm:title xml:id="t1" xml:lang="fr">Le journal</ttm:title>
      <ttm:copyright>Somebody</ttm:copyright>
      <ebuttm:documentMetadata><ebuttm:documentEbuttVersion>v1.0</ebuttm:documentEbuttVersion></ebuttm:documentMetadata>
    </tt:metadata>
    <tt:styling xml:lang="fr"><tt:style xml:id="white" tts:color="#ffffff"/></tt:styling>
    <tt:layout><tt:region xml:id="bottom" tts:origin="10% 80%" style="white"><tt:style tts:opacity="1"/></tt:region>
    </tt:layout>
  </tt:head>
  <tt:body dur="00:00:10">
    <tt:div style="white" region="bottom">
      <tt:p xml:id="p1" begin="10:00:01.500" end="10:00:03:12">
        <tt:span style="white" tts:color="red">Bonjour</tt:span> tout
        le monde<tt:br/>
        <tt:metadata><ebuttm:note>never shown</ebuttm:note></tt:metadata>
        <tt:span>deux <tt:span>fois</tt:span></tt:span>
      </tt:p>
      <tt:div><tt:p>plus tard</tt:p></tt:div>
    </tt:div>
  </tt:body>
</tt:tt>"""


def wrap(body: str, attributes: str = "") -> bytes:
    return (
        '<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" '
        f"{attributes}><head/>{body}</tt>"
    ).encode()


def test_a_live_document_is_read_with_the_names_workers_know():
    document = parse_ebu_tt(LIVE)

    assert document.language == "fr-FR"
    assert (document.sequence_identifier, document.sequence_number) == ("live-1", 42)
    assert (document.time_base, document.clock_mode) == ("clock", "utc")
    assert document.attributes == {"{http://www.w3.org/ns/ttml#parameter}cellResolution": "50 30"}
    assert document.head.metadata.title.content == "Le journal"
    assert (document.head.metadata.title.id, document.head.metadata.title.lang) == ("t1", "fr")
    assert document.head.metadata.copyright == "Somebody"
    assert document.head.metadata.desc is None
    assert document.head.styling.lang == "fr"
    assert document.head.styling.styles[0].id == "white"
    (region,) = document.head.layout.regions
    assert (region.id, region.style) == ("bottom", "white")
    assert region.attributes["{http://www.w3.org/ns/ttml#styling}opacity"] == "1"
    assert document.body.duration == TimeExpression(clock_time=ClockTime(0, 0, 10))


def test_text_keeps_its_spans_and_breaks_and_loses_the_blanks_of_the_source():
    (div,) = parse_ebu_tt(LIVE).body.divs
    (paragraph,) = div.paragraphs

    assert paragraph.text == "Bonjour tout le monde\ndeux fois"
    assert [span.text for span in paragraph.spans] == ["Bonjour", " tout le monde", "deux fois"]
    assert paragraph.content[2] == Break()
    assert paragraph.spans[0].attributes == {"{http://www.w3.org/ns/ttml#styling}color": "red"}
    assert paragraph.begin == TimeExpression(clock_time=ClockTime(10, 0, 1, Frames(500, sub_frames=True)))
    assert paragraph.end == TimeExpression(clock_time=ClockTime(10, 0, 3, Frames(12)))
    assert [each.text for each in div.all_paragraphs] == [paragraph.text, "plus tard"]
    assert parse_ebu_tt(LIVE).text == "Bonjour tout le monde\ndeux fois\nplus tard"


def test_space_is_kept_where_the_document_says_so():
    body = '<body><div><p>  a  b </p><p xml:space="default">  a  b </p></div></body>'

    texts = [paragraph.text for paragraph in parse_ebu_tt(wrap(body, 'xml:space="preserve"')).paragraphs]

    assert texts == ["  a  b ", "a b"]


def test_a_document_without_a_body_is_an_empty_one():
    document = parse_ebu_tt(b'<tt xmlns="http://www.w3.org/ns/ttml"/>')

    assert document.body == Body()
    assert list(document.paragraphs) == []


@pytest.mark.parametrize("document", [LIVE, wrap('<body><div><p xml:space="preserve"> a <br/> b</p></div></body>')])
def test_what_is_written_reads_back_the_same(document):
    first = parse_ebu_tt(document)

    assert parse_ebu_tt(to_xml(first)) == first


TEXTS = st.text(alphabet="aé<&>\"' 字", min_size=1).map(lambda text: " ".join(text.split())).filter(bool)
TIMES = st.builds(
    TimeExpression,
    clock_time=st.builds(
        ClockTime,
        st.integers(0, 99),
        st.integers(0, 59),
        st.integers(0, 59),
        st.builds(Frames, st.integers(1, 999), st.booleans()) | st.just(Frames()),
    ),
) | st.builds(
    TimeExpression,
    offset_time=st.builds(
        OffsetTime, st.decimals(0, 10**9, places=6).map(float), st.sampled_from(["h", "m", "s", "ms", "f", "t"])
    ),
)
PARAGRAPHS = st.builds(
    Paragraph,
    begin=st.none() | TIMES,
    end=st.none() | TIMES,
    duration=st.none() | TIMES,
    content=st.lists(st.builds(Span, content=TEXTS.map(lambda text: (text,)), lang=TEXTS), max_size=3).map(tuple),
)


@given(st.builds(EbuTtDocument, body=st.builds(Body, divs=st.tuples(st.builds(Div, paragraphs=st.tuples(PARAGRAPHS))))))
def test_whatever_is_built_from_the_model_is_written_and_read(document):
    assert parse_ebu_tt(to_xml(document)) == document


@pytest.mark.parametrize(
    ("text", "seconds", "time_code"),
    [
        ("00:00:01", 1.0, "00:00:01:00"),
        ("01:02:03.5", 3723.5, "01:02:03:15"),
        ("00:00:01.0416667", 1.0416667, "00:00:01:01"),
        ("00:00:01.9999", 1.9999, "00:00:01:29"),
        ("00:00:01:12", 1.4, "00:00:01:12"),
        ("00:00:01:12.0", 1.4, "00:00:01:12"),
        ("100:00:00", 360000.0, "100:00:00:00"),
        ("1.5s", 1.5, "00:00:01:15"),
        ("250ms", 0.25, "00:00:00:07"),
        ("2m", 120.0, "00:02:00:00"),
        ("0.5h", 1800.0, "00:30:00:00"),
        ("123f", 4.1, "00:00:04:03"),
        (" 10t ", 10.0, "00:00:10:00"),
    ],
)
def test_every_form_of_a_time_has_its_seconds_and_its_time_code(text, seconds, time_code):
    expression = TimeExpression.parse(text)

    assert expression.to_seconds() == pytest.approx(seconds)
    assert expression.to_time_code() == time_code
    assert TimeExpression.parse(str(expression)) == expression


@pytest.mark.parametrize("text", ["", "1", "00:60:00", "00:00", "-1s", "1,5s", "1e3s", "٣s", "9" * 500 + "s"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(MediaSourceError, match="time expression"):
        TimeExpression.parse(text)


def test_frames_and_ticks_count_at_the_documents_rates():
    body = '<body><div><p begin="30f" end="90000t">x</p></div></body>'
    rates = 'ttp:frameRate="30" ttp:frameRateMultiplier="1000 1001" ttp:tickRate="10000"'
    document = parse_ebu_tt(wrap(body, rates))

    assert document.frame_rate == Fraction(30000, 1001)
    (timed,) = timed_texts(document)
    assert timed.start_seconds == pytest.approx(1.001)
    assert timed.end_seconds == 9.0


@pytest.mark.parametrize("draft", ["2006/10", "2006/04"])
def test_documents_of_the_drafts_are_read_as_those_of_today(draft):
    today = wrap(
        '<body><div><p begin="5t" tts:color="red">x</p></div></body>',
        'ttp:tickRate="10" ttp:timeBase="media" xmlns:tts="http://www.w3.org/ns/ttml#styling" ttp:cellResolution="1 2"',
    )
    then = today.replace(b"http://www.w3.org/ns/ttml", f"http://www.w3.org/{draft}/ttaf1".encode())

    assert parse_ebu_tt(then) == parse_ebu_tt(today)
    assert parse_ebu_tt(then.replace(b"#styling", b"#style")) == parse_ebu_tt(today)
    assert [timed.start_seconds for timed in timed_texts(parse_ebu_tt(then))] == [0.5]


@pytest.mark.parametrize(
    ("rates", "seconds"),
    [
        ("", 50.0),
        ('ttp:frameRate="25"', 2.0),
        ('ttp:frameRate="25" ttp:subFrameRate="4"', 0.5),
        ('ttp:frameRate="30" ttp:frameRateMultiplier="1000 1001"', 50 * 1001 / 30000),
        ('ttp:subFrameRate="4"', 50.0),
        ('ttp:frameRate="25" ttp:subFrameRate="4" ttp:tickRate="100"', 0.5),
    ],
)
def test_without_a_tick_rate_ticks_are_sub_frames(rates, seconds):
    (timed,) = timed_texts(parse_ebu_tt(wrap('<body><div><p begin="50t">x</p></div></body>', rates)))

    assert timed.start_seconds == pytest.approx(seconds)


NTSC = 'ttp:frameRate="30" ttp:frameRateMultiplier="1000 1001"'


@pytest.mark.parametrize(
    ("rates", "time", "seconds"),
    [
        (f'{NTSC} ttp:dropMode="nonDrop"', "01:00:00:00", 3603.6),
        (NTSC, "01:00:00:00", 3603.6),
        (NTSC, "00:00:10:15", 315 * 1001 / 30000),
        (f'{NTSC} ttp:dropMode="dropNTSC"', "01:00:00:00", 107892 * 1001 / 30000),
        (f'{NTSC} ttp:dropMode="dropNTSC"', "00:00:59:29", 1799 * 1001 / 30000),
        # The frame after it: 00 and 01 are left out at the begin of this minute.
        (f'{NTSC} ttp:dropMode="dropNTSC"', "00:01:00:02", 1800 * 1001 / 30000),
        (f'{NTSC} ttp:dropMode="dropNTSC"', "00:10:00:00", 17982 * 1001 / 30000),
        ('ttp:frameRate="30" ttp:frameRateMultiplier="999 1000" ttp:dropMode="dropPAL"', "00:02:00:04", 3600 / 29.97),
        ('ttp:frameRate="30" ttp:frameRateMultiplier="999 1000" ttp:dropMode="dropPAL"', "01:00:00:00", 107892 / 29.97),
        # Rates nobody uses: counted at 30, shown at 15.
        ('ttp:frameRate="30" ttp:frameRateMultiplier="1 2"', "00:00:10:00", 20.0),
        ('ttp:frameRate="25"', "01:00:00:05", 3600.2),
        ("", "01:00:00:06", 3600.2),
        (f"{NTSC}", "00:00:01.500", 45 * 1001 / 30000),
        (f"{NTSC}", "30f", 1.001),
        (f"{NTSC}", "5s", 5.0),
    ],
)
def test_time_codes_are_counted_in_frames(rates, time, seconds):
    body = f'<body><div><p begin="{time}">x</p></div></body>'
    document = parse_ebu_tt(wrap(body, f'ttp:timeBase="smpte" {rates}'))

    for read in (document, parse_ebu_tt(to_xml(document))):
        (timed,) = timed_texts(read)
        assert timed.start_seconds == pytest.approx(seconds, abs=1e-6)
    (media,) = timed_texts(parse_ebu_tt(wrap(body.replace(time, "01:00:00:00"), rates)))
    assert media.start_seconds == 3600


SEQ = 'timeContainer="seq"'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            f'<body><div {SEQ}><p dur="2s">a</p><p dur="3s">b</p><p begin="1s" end="2s">c</p></div></body>',
            [("a", 0, 2), ("b", 2, 5), ("c", 6, 7)],
        ),
        (
            f'<body begin="10s" {SEQ}><div><p end="1s">a</p><p end="3s">b</p></div><div><p dur="1s">c</p></div></body>',
            [("a", 10, 11), ("b", 10, 13), ("c", 13, 14)],
        ),
        # What has no end lets nothing follow.
        (
            f'<body><div {SEQ}><p begin="1s">a</p><p dur="3s">b</p></div></body>',
            [("a", 1, None)],
        ),
        (
            f'<body><div {SEQ} dur="4s"><p dur="3s">a</p><p dur="3s">b</p><p dur="3s">c</p></div></body>',
            [("a", 0, 3), ("b", 3, 4)],
        ),
        (
            f'<body><div><p {SEQ}> <span dur="1s">a</span> <span dur="2s">b</span><br/></p></div></body>',
            [("a", 0, 1), ("b", 1, 3)],
        ),
        # Text without a time of its own lasts no time in a sequence, unless there are spans within its span.
        (
            f"<body><div><p {SEQ}>x<span>y</span><span>Guten <span>Tag</span></span>z</p></div></body>",
            [("Guten Tag", 0, None)],
        ),
        (
            (
                f'<body><div {SEQ}><p><span dur="2s">a</span> <span begin="1s" dur="4s">b</span></p>'
                '<p dur="1s">c</p></div></body>'
            ),
            [("a", 0, 2), ("b", 1, 5), ("c", 5, 6)],
        ),
        (
            (
                f'<body><div {SEQ}><p {SEQ}><span dur="2s">a</span><span dur="1s">b</span></p><p/>'
                '<p dur="1s">c</p></div></body>'
            ),
            [("a", 0, 2), ("b", 2, 3), ("c", 3, 4)],
        ),
        (
            f'<body><div {SEQ}><div><p end="1s">a</p></div><div {SEQ}><p dur="1s">b</p></div></div></body>',
            [("a", 0, 1), ("b", 1, 2)],
        ),
        (
            f'<body><div><p><span {SEQ}><span dur="1s">a</span><span dur="1s">b</span></span></p></div></body>',
            [("a", 0, 1), ("b", 1, 2)],
        ),
    ],
)
def test_in_a_sequence_each_begins_when_the_one_before_ends(body, expected):
    document = parse_ebu_tt(wrap(body))

    for read in (document, parse_ebu_tt(to_xml(document))):
        assert [(item.text.strip(), item.start_seconds, item.end_seconds) for item in timed_texts(read)] == expected


def test_times_count_from_the_element_around_and_end_with_it():
    body = (
        '<body begin="10s" end="20s"><div begin="1s"><p begin="1s" dur="2s">a</p><p begin="5s">b</p>'
        '<p begin="8s" end="30s">c</p><p><span begin="0s" end="1s">d</span><span begin="1s">e</span></p></div></body>'
    )

    timed = [(item.text, item.start_seconds, item.end_seconds) for item in timed_texts(parse_ebu_tt(wrap(body)))]

    assert timed == [("a", 12, 14), ("b", 16, 20), ("c", 19, 20), ("d", 11, 12), ("e", 12, 20)]


def test_a_text_without_an_end_has_none():
    (timed,) = timed_texts(parse_ebu_tt(wrap('<body><div><p begin="2s">open</p></div></body>')))

    assert (timed.start_seconds, timed.end_seconds) == (2.0, None)


LAUGHS = '<!DOCTYPE tt [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + n)} "&{chr(97 + n)};&{chr(97 + n)};">' for n in range(20)
)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "not well-formed"),
        (b"<tt", "not well-formed"),
        (b"plain text", "not well-formed"),
        (b"<html/>", "begins with the element 'html'"),
        (b'<tt xmlns="urn:other"/>', "begins with the element 'tt'; expected 'tt' of TTML"),
        (f"{LAUGHS}]><tt>&u;</tt>".encode(), "document type or an entity"),
        (b'<!DOCTYPE tt [<!ENTITY x SYSTEM "file:///etc/hostname">]><tt>&x;</tt>', "document type or an entity"),
        (b'<!DOCTYPE tt SYSTEM "http://127.0.0.1:1/x.dtd"><tt/>', "document type or an entity"),
        (b'<tt xmlns="http://www.w3.org/ns/ttml">' + b"<div>" * 100 + b"</div>" * 100 + b"</tt>", "64 deep"),
        (b'<tt xmlns="http://www.w3.org/ns/ttml">' + b"<p>" * 500_000 + b"</p>" * 500_000 + b"</tt>", "64 deep"),
        (b" " * (16 * 1024 * 1024 + 1), "at most 16777216"),
        (wrap("<body/>", 'ttp:frameRate="many"'), "frameRate 'many'"),
        (wrap("<body/>", 'ttp:frameRate="25" ttp:frameRateMultiplier="1 0"'), "frameRateMultiplier '1 0'"),
        (wrap("<body/>", 'ttp:subFrameRate="x"'), "subFrameRate 'x'"),
        (wrap('<body begin="soon"/>'), "time expression is 'soon'"),
        (b'<?xml version="1.0" encoding="klingon"?><tt/>', "expected"),
        (b'<?xml version="1.0" encoding="utf-8"?><tt>\xff</tt>', "not well-formed"),
    ],
)
def test_what_is_no_document_or_an_attack_is_refused_by_name(document, words):
    with pytest.raises(MediaSourceError) as caught:
        parse_ebu_tt(document)

    assert words in str(caught.value)
    assert len(str(caught.value)) < 400
