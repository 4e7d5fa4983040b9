"""When TTML text is shown: time expressions, empty times, regions, and what hides text, always or for a while."""

from __future__ import annotations

import pytest

from mcai_worker_sdk.media.ebu_tt import ClockTime, Frames, TimeExpression, parse_ebu_tt, timed_texts, to_xml

NAMESPACES = (
    'xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" '
    'xmlns:tts="http://www.w3.org/ns/ttml#styling"'
)


def shown(body: str, head: str = "", parameters: str = "") -> list[tuple[str, float, float | None]]:
    """Text, begin and end of each cue; the same for the document that is written."""
    document = parse_ebu_tt(f"<tt {NAMESPACES} {parameters}><head>{head}</head>{body}</tt>")
    assert parse_ebu_tt(to_xml(document)) == document
    return [(cue.text, cue.start_seconds, cue.end_seconds) for cue in timed_texts(document)]


def in_div(content: str) -> str:
    return f"<body><div>{content}</div></body>"


@pytest.mark.parametrize(
    ("parameters", "time", "seconds"),
    [
        ('ttp:frameRate="25" ttp:subFrameRate="2"', "00:00:01:12.1", 1.5),
        ('ttp:frameRate="25" ttp:subFrameRate="4"', "00:00:01:12.3", 1.51),
        ('ttp:frameRate="25"', "00:00:01:12", 1.48),
        ('ttp:subFrameRate="2"', "00:00:01:12.1", 1 + 12.5 / 30),
        ('ttp:timeBase="smpte" ttp:frameRate="25" ttp:subFrameRate="2"', "00:00:01:12.1", 1.5),
        (
            'ttp:timeBase="smpte" ttp:frameRate="30" ttp:frameRateMultiplier="1000 1001" ttp:subFrameRate="2"',
            "00:00:01:12.1",
            42.5 * 1001 / 30000,
        ),
        # Without a rate TTML counts 30 frames a second.
        ("", "00:00:01:15", 1.5),
        ("", "45f", 1.5),
        ('ttp:timeBase="smpte"', "00:00:01:15", 1.5),
        ('ttp:frameRateMultiplier="1000 1001"', "30f", 1.001),
        ('ttp:frameRateMultiplier="1 2"', "00:00:01:15", 2.0),
        ('ttp:timeBase="smpte" ttp:frameRateMultiplier="1000 1001"', "00:00:10:00", 10.01),
        # Ticks count sub-frames of a rate that is given, and seconds otherwise.
        ("", "3t", 3.0),
        ('ttp:frameRateMultiplier="1000 1001"', "3t", 3.0),
        ('ttp:frameRate="25" ttp:subFrameRate="2"', "100t", 2.0),
        ('ttp:frameRate="30" ttp:frameRateMultiplier="1000 1001" ttp:subFrameRate="2"', "60t", 1.001),
        ('ttp:tickRate="10000000"', "15000000t", 1.5),
        ("", "00:00:01.0416667", 1.0416667),
        ("", "00:00:01.99999", 1.99999),
        ("", "1.0416667s", 1.0416667),
        # Leap seconds are those of clocks; elsewhere the last second counts twice.
        ('ttp:timeBase="clock"', "00:00:60", 60.0),
        ('ttp:timeBase="clock" ttp:clockMode="local"', "00:00:60.5", 60.5),
        ('ttp:timeBase="clock" ttp:clockMode="gps"', "00:00:60", 59.0),
        ("", "00:00:60", 59.0),
    ],
)
def test_a_time_has_the_seconds_its_document_gives_it(parameters, time, seconds):
    ((_, start, _),) = shown(in_div(f'<p begin="{time}">x</p>'), parameters=parameters)

    assert start == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize("text", ["00:00:01:12.1", "00:00:01:00.1", "00:00:01.0416667", "00:00:01.5", "00:00:01.500"])
def test_a_time_is_written_as_it_was_read(text):
    expression = TimeExpression.parse(text)

    assert TimeExpression.parse(str(expression)) == expression
    assert str(TimeExpression(clock_time=ClockTime(0, 0, 1, Frames(12, sub_frame_count=1)))) == "00:00:01:12.1"


@pytest.mark.parametrize(
    "times",
    ['dur="0s"', 'begin="2s" end="2s"', 'begin="3s" end="2s"', 'begin="1s" dur="00:00:00"', 'end="0s"', 'begin="9s"'],
)
@pytest.mark.parametrize(
    "body",
    [
        '<body end="9s"><div><p {times}>x</p><p>y</p></div></body>',
        '<body end="9s"><div><p><span {times}>x</span><br/>y</p></div></body>',
        '<body end="9s"><div {times}><p>x</p></div><div><p>y</p></div></body>',
    ],
)
def test_what_lasts_no_time_is_no_cue(body, times):
    assert shown(body.format(times=times)) == [("y", 0, 9)]


def test_a_body_that_lasts_no_time_shows_nothing():
    assert shown('<body dur="0s"><div><p>x</p></div></body>') == []


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ('begin="1s" end="5s" dur="2s"', (1, 3)),
        ('begin="1s" end="2s" dur="5s"', (1, 2)),
        ('end="5s" dur="2s"', (0, 2)),
        ('dur="2s"', (0, 2)),
        ('begin="1s"', (1, 10)),
    ],
)
def test_the_lesser_of_end_and_duration_counts(times, expected):
    assert shown(f'<body end="10s"><div><p {times}>x</p></div></body>') == [("x", *expected)]


SEQ = 'timeContainer="seq"'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # A sequence ends with what is around it.
        (
            f'<body end="4s"><div {SEQ}><p><span dur="9s">a</span></p><p dur="2s">b</p></div></body>',
            [("a", 0, 4)],
        ),
        # Groups and paragraphs in the order of the document.
        (
            f'<body><div {SEQ}><div><p dur="1s">a</p></div><p dur="2s">b</p><div><p dur="3s">c</p></div></div></body>',
            [("a", 0, 1), ("b", 1, 3), ("c", 3, 6)],
        ),
        (
            (
                f'<body {SEQ}><div begin="1s" {SEQ}><p dur="1s">a</p><p begin="1s" dur="1s">b</p></div>'
                '<div><p end="2s">c</p><p begin="1s" end="3s">d</p></div>'
                '<div timeContainer="par"><p dur="1s">e</p></div></body>'
            ),
            [("a", 1, 2), ("b", 3, 4), ("c", 4, 6), ("d", 5, 7), ("e", 7, 8)],
        ),
        # What is empty takes no time, and what is hidden takes its own.
        (
            f'<body><div {SEQ}><p dur="0s">a</p><p dur="2s" tts:display="none">b</p><p dur="1s">c</p></div></body>',
            [("c", 2, 3)],
        ),
        (
            '<body><div><p>a<span begin="1s" end="2s">b</span>c</p></div></body>',
            [("a", 0, None), ("b", 1, 2), ("c", 0, None)],
        ),
    ],
)
def test_containers_within_containers(body, expected):
    assert shown(body) == expected


HEAD = """
    <styling>
      <style xml:id="gone" tts:display="none"/>
      <style xml:id="back" tts:display="auto"/>
      <style xml:id="chained" style="gone"/>
      <style xml:id="circle" style="circle"/>
      <style xml:id="unseen" tts:visibility="hidden"/>
    </styling>
    <layout>
      <region xml:id="early" end="5s"/>
      <region xml:id="late" begin="5s" dur="3s"/>
      <region xml:id="off" tts:display="none"/>
      <region xml:id="off-by-style"><style style="gone"/></region>
      <region xml:id="on-by-itself" tts:display="auto" style="gone"/>
      <region xml:id="on-by-nested" style="gone"><style tts:display="auto"/></region>
      <region xml:id="unseen" tts:visibility="hidden"/>
      <region xml:id="blinking"><set begin="2s" end="4s" tts:display="none"/></region>
    </layout>"""
ALL = [("x", 0, 10)]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('region="early"', [("x", 0, 5)]),
        ('region="late"', [("x", 5, 8)]),
        ('region="late" begin="6s"', [("x", 6, 8)]),
        ('region="late" end="5s"', []),
        ('region="off"', []),
        ('region="off-by-style"', []),
        ('region="on-by-itself"', ALL),
        ('region="on-by-nested"', ALL),
        ('region="unseen"', []),
        ('region="unseen" tts:visibility="visible"', ALL),
        ('region="blinking"', [("x", 0, 2), ("x", 4, 10)]),
        # Text is not lost to a region that is not there.
        ('region="nowhere"', ALL),
        ("", ALL),
        ('tts:display="none"', []),
        ('tts:display="auto"', ALL),
        ('tts:display="inlineBlock"', ALL),
        ('style="gone"', []),
        ('style="back gone"', []),
        ('style="gone back"', ALL),
        ('style="gone" tts:display="auto"', ALL),
        ('style="chained"', []),
        ('style="circle"', ALL),
        ('style="no-such gone"', []),
        ('tts:visibility="hidden"', []),
        ('style="unseen"', []),
        ('style="unseen" tts:visibility="visible"', ALL),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        '<body dur="10s" {}><div><p>x</p></div></body>',
        '<body end="10s"><div {}><p>x</p></div></body>',
        '<body end="10s"><div><div {}><p>x</p></div></div></body>',
        '<body end="10s"><div><p {}>x</p></div></body>',
        '<body end="10s"><div><p><span {}>x</span></p></div></body>',
    ],
    ids=["body", "div", "div in div", "p", "span"],
)
def test_regions_and_styles_say_whether_text_is_shown(body, attributes, expected):
    assert shown(body.format(attributes), HEAD) == expected


def test_a_descendant_of_hidden_text_may_be_visible_but_never_displayed():
    visible, displayed = '<span tts:visibility="visible">y</span>', '<span tts:display="auto">y</span>'

    assert shown(in_div(f'<p tts:visibility="hidden">x {visible}</p>')) == [("y", 0, None)]
    assert shown(in_div(f'<p tts:display="none">x {displayed}</p>')) == []


def test_the_nearest_region_counts():
    body = '<body region="early"><div><p>a</p><p region="late">b</p></div></body>'

    assert shown(body, HEAD) == [("a", 0, 5), ("b", 5, 8)]


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ('<span tts:display="none"><set begin="1s" dur="1s" tts:display="auto"/>x</span>', [("x", 1, 2)]),
        ('<span><set begin="1s" end="2s" tts:display="none"/>x</span>', [("x", 0, 1), ("x", 2, None)]),
        ('<span tts:visibility="hidden"><set begin="1s" tts:visibility="visible"/>x</span>', [("x", 1, None)]),
        (
            '<span begin="5s" dur="9s"><set begin="1s" dur="3s" tts:display="none"/>x</span>',
            [("x", 5, 6), ("x", 9, 14)],
        ),
        ('<span><set begin="1s" end="1s" tts:display="none"/>x</span>', [("x", 0, None)]),
        ('<span><set tts:color="red"/>x</span>', [("x", 0, None)]),
        (
            (
                '<span style="gone"><set end="3s" tts:display="auto"/>'
                '<set begin="1s" dur="1s" tts:display="none"/>x</span>'
            ),
            [("x", 0, 1), ("x", 2, 3)],
        ),
    ],
)
def test_set_changes_for_a_while_what_is_shown(element, expected):
    assert shown(in_div(f"<p>{element}</p>"), HEAD) == expected


def test_the_names_of_the_drafts_hide_text_too():
    draft = "http://www.w3.org/2006/10/ttaf1"
    document = (
        f'<tt xmlns="{draft}" xmlns:tts="{draft}#style"><head><layout><region xml:id="r" end="2s"/></layout></head>'
        '<body><div><p region="r">x</p><p tts:display="none">y</p></div></body></tt>'
    )

    assert [(cue.text, cue.end_seconds) for cue in timed_texts(parse_ebu_tt(document))] == [("x", 2.0)]


def test_regions_hold_their_times_and_animations():
    document = parse_ebu_tt(f"<tt {NAMESPACES}><head>{HEAD}</head></tt>")
    early, late, *_, blinking = document.head.layout.regions

    assert (str(early.end), str(late.begin), str(late.duration)) == ("5s", "5s", "3s")
    (animation,) = blinking.animations
    assert (str(animation.begin), str(animation.end)) == ("2s", "4s")
    assert animation.attributes == {"{http://www.w3.org/ns/ttml#styling}display": "none"}
