"""When elements are displayed and visible: by ``tts:display``, ``tts:visibility``, their regions, and ``set``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from mcai_worker_sdk.media.ebu_tt.intervals import ALWAYS, Interval, Intervals, intersection, union, without
from mcai_worker_sdk.media.ebu_tt.model import Animation, Body, Div, EbuTtDocument, Paragraph, Region, Span
from mcai_worker_sdk.media.ebu_tt.names import TTS

__all__ = ["Displays", "Shown"]

_DISPLAY = f"{{{TTS}}}display"
_VISIBILITY = f"{{{TTS}}}visibility"
#: Styles may refer to styles; more of them than this are a circle.
_MAX_STYLES = 64

_Styled: TypeAlias = Body | Div | Paragraph | Span | Region
#: Begin and end in seconds of an element or an animation, from those of the element around it.
_Resolve: TypeAlias = Callable[[Region | Animation, Interval], Interval]


@dataclass(frozen=True, slots=True)
class Shown:
    """When the content of an element is shown, as far as that is not a matter of its own begin and end."""

    displayed: Intervals
    """When neither it nor an element around it is left out."""
    visible: tuple[Callable[[Intervals], Intervals], ...]
    """What it and each element around it, the outermost first, make of the visibility they inherit."""
    region: str | None
    """Id of its region, or of that of the nearest element around it."""


class Displays:
    """
    The moments in which elements of a document are shown.

    Text whose region is not there, or that has none, is shown all the same.

    Source: W3C TTML 2, sections 10.2.14 and 10.2.49 (``tts:display``, ``tts:visibility``), 10.4 (styles), 11.3.1
    (regions), 13.1 (``set``).

    Args:
        document: The document.
        resolve: Tells when regions and animations begin and end.
    """

    def __init__(self, document: EbuTtDocument, resolve: _Resolve) -> None:
        self._resolve = resolve
        styling, layout = document.head.styling, document.head.layout
        self._styles = {style.id: style for style in (styling.styles if styling else ()) if style.id is not None}
        self._regions = {region.id: region for region in (layout.regions if layout else ()) if region.id is not None}
        # By what elements refer to, and the name of the attribute.
        self._referred_values: dict[tuple[str, str], str | None] = {}
        self._regions_shown: dict[str, tuple[Intervals, Intervals]] = {}

    def around(self) -> Shown:
        """What is around the body: nothing that hides it."""
        return Shown(ALWAYS, (), None)

    def inside(self, element: Body | Div | Paragraph | Span, interval: Interval, around: Shown) -> Shown:
        """
        When the content of an element is shown.

        Args:
            element: The element.
            interval: Its begin and end.
            around: The same of the element around it.
        """
        region = around.region if element.region is None else element.region
        if not element.animations and not any(self._value(element, name) for name in (_DISPLAY, _VISIBILITY)):
            # Most elements: nothing about them says whether they are shown.
            return around if region == around.region else Shown(around.displayed, around.visible, region)
        displayed = intersection(around.displayed, self._displayed(element, interval))
        return Shown(displayed, (*around.visible, self._visibility(element, interval)), region)

    def moments(self, shown: Shown) -> Intervals:
        """The moments in which text is displayed and visible, in a region that is active."""
        active, visible = self._of_region(shown.region)
        for change in shown.visible:
            visible = change(visible)
        return intersection(intersection(shown.displayed, active), visible)

    def _of_region(self, identifier: str | None) -> tuple[Intervals, Intervals]:
        """When a region is displayed, and when it is visible."""
        region = self._regions.get(identifier or "")
        if region is None or identifier is None:
            return ALWAYS, ALWAYS
        if identifier not in self._regions_shown:
            interval = self._resolve(region, (0.0, inf))
            active = intersection((interval,), self._displayed(region, interval))
            self._regions_shown[identifier] = active, self._visibility(region, interval)(ALWAYS)
        return self._regions_shown[identifier]

    def _displayed(self, element: _Styled, interval: Interval) -> Intervals:
        displayed: Intervals = () if self._value(element, _DISPLAY) == "none" else ALWAYS
        for value, moments in self._animated(element, _DISPLAY, interval):
            displayed = without(displayed, moments) if value == "none" else union(displayed, moments)
        return displayed

    def _visibility(self, element: _Styled, interval: Interval) -> Callable[[Intervals], Intervals]:
        value = self._value(element, _VISIBILITY)
        animated = list(self._animated(element, _VISIBILITY, interval))

        def change(inherited: Intervals) -> Intervals:
            visible = {"visible": ALWAYS, "hidden": ()}.get(value or "", inherited)
            for animated_value, moments in animated:
                visible = without(visible, moments) if animated_value == "hidden" else union(visible, moments)
            return visible

        return change

    def _animated(self, element: _Styled, name: str, interval: Interval) -> Iterator[tuple[str, Intervals]]:
        """The values an attribute has for a while, and when; later ones go before earlier ones."""
        for animation in element.animations:
            value = animation.attributes.get(name)
            start, end = self._resolve(animation, interval)
            if value is not None and start < end:
                yield value, ((start, end),)

    def _value(self, element: _Styled, name: str) -> str | None:
        """The value an element has by itself or by the styles it refers to."""
        value = element.attributes.get(name)
        if value is not None or element.style is None:
            return value
        key = element.style, name
        if key not in self._referred_values:
            self._referred_values[key] = self._referred(*key)
        return self._referred_values[key]

    def _referred(self, references: str, name: str) -> str | None:
        """The value by styles and the styles those refer to: the last says it, itself before what it refers to."""
        waiting = references.split()
        for _ in range(_MAX_STYLES):
            if not waiting:
                break
            style = self._styles.get(waiting.pop())
            if style is None:
                continue
            if name in style.attributes:
                return style.attributes[name]
            waiting += style.attributes.get("style", "").split()
        return None
