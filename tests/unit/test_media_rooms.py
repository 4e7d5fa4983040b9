"""
The rooms inside ``media/``: which stands on which, as ``docs/explanation/media.md`` draws it.

The rules of the whole house, in ``test_architecture.py``, hold here too.
"""

import ast
import re
from collections.abc import Callable, Iterator

import pytest

from tests.unit.house import PACKAGE, ROOT, Module, imported_names, is_underscored, names_defined_in, read_house

#: The files that all rooms of ``media/`` stand on, each with its floor.
GROUND = {"addresses": 0, "cover_art": 0, "encodings": 0, "waiting": 0, "pyav": 1, "raw_bytes": 2}
#: Floor of each room inside ``media/``, and of the files beside them.
FLOORS = {
    **GROUND,
    **dict.fromkeys(("model", "ebu_tt", "srt", "damage"), 3),
    **dict.fromkeys(("text", "results"), 4),
    "sources": 5,
    "reading": 6,
    **dict.fromkeys(("batches", "progression", "turns"), 7),
    "processing": 8,
    "session": 9,
    "__init__": 10,
}
#: What each room imports from the floors below, beside the ground: rooms, or single modules of a room.
ARROWS = {
    "text": ("ebu_tt", "model"),
    "results": ("srt",),
    "sources": ("ebu_tt", "model", "srt", "text"),
    "reading": ("damage", "ebu_tt", "model", "sources.source", "text"),
    "progression": ("model",),
    "turns": ("model",),
    "processing": ("batches", "model", "progression", "reading", "results", "turns"),
    "session": ("batches", "damage", "model", "processing", "progression", "reading", "results", "sources", "turns"),
    "__init__": ("model",),
}
#: Files beside the rooms, at most.
MAX_FLAT_FILES = 12


def read_media() -> list[Module]:
    return [module for module in read_house() if module.room == "media"]


def place_of(module: Module) -> str:
    """The room that a module is in, or the module's own name where it lies beside the rooms."""
    return module.path.split("/")[1].removesuffix(".py")


def unknown_room(module: Module) -> Iterator[str]:
    place = place_of(module)
    if place not in FLOORS:
        yield f"{module.path} stands on no floor of media/"


def undrawn_arrow(module: Module) -> Iterator[str]:
    """A room imports only what is below it, and of that only what its arrows say."""
    place = place_of(module)
    if place not in FLOORS:
        return
    for line, name in imported_names(module, module.tree):
        _, _, inner = name.partition(f"{PACKAGE}.media.")
        target = inner.partition(".")[0]
        if target not in FLOORS or target == place:
            continue
        is_below = FLOORS[target] < FLOORS[place]
        arrows = ARROWS.get(place, ())
        is_meant = target in GROUND or any(f"{inner}.".startswith(f"{arrow}.") for arrow in arrows)
        if not (is_below and is_meant):
            yield f"{module.path}:{line} imports {name}, which is none of what media/{place} stands on"


def foreign_underscore(module: Module) -> Iterator[str]:
    """A name with an underscore is the business of the module that defines it."""
    for line, name in imported_names(module, module.tree):
        if name.startswith(f"{PACKAGE}.") and is_underscored(name.rpartition(".")[2]):
            yield f"{module.path}:{line} imports {name}"
    own = names_defined_in(module)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and is_underscored(node.attr) and node.attr not in own:
            yield f"{module.path}:{node.lineno} uses {ast.unparse(node)}"


Rule = Callable[[Module], Iterator[str]]

RULES: list[Rule] = [unknown_room, undrawn_arrow, foreign_underscore]

PLANTED: list[tuple[Rule, str, str]] = [
    (unknown_room, "media/helpers.py", ""),
    (unknown_room, "media/attic/x.py", ""),
    (undrawn_arrow, "media/sources/live.py", "from mcai_worker_sdk.media.results.encoding import encode_result"),
    (undrawn_arrow, "media/reading/pipeline.py", "from mcai_worker_sdk.media.sources.playlists import may_grow"),
    (undrawn_arrow, "media/reading/selection.py", "from mcai_worker_sdk.media.session import MediaSession"),
    (undrawn_arrow, "media/text/subtitles.py", "def f():\n    from mcai_worker_sdk.media.reading import clock"),
    (undrawn_arrow, "media/model/ranges.py", "from ..damage.report import DamageReport"),
    (undrawn_arrow, "media/session.py", "from mcai_worker_sdk.media.srt import SrtConnection"),
    (undrawn_arrow, "media/encodings.py", "from mcai_worker_sdk.media.pyav import exact"),
    (undrawn_arrow, "media/pyav.py", "from mcai_worker_sdk.media.model.cues import Cue"),
    (foreign_underscore, "media/session.py", "def f(channel):\n    return channel._saw_stop"),
    (foreign_underscore, "media/session.py", "from mcai_worker_sdk.media.turns import _process"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rooms_keep_the_rule(rule: Rule):
    assert [offence for module in read_media() for offence in rule(module)] == []


@pytest.mark.parametrize(
    ("rule", "path", "text"), PLANTED, ids=[f"{rule.__name__}-{index}" for index, (rule, _, _) in enumerate(PLANTED)]
)
def test_a_planted_fault_is_found(rule: Rule, path: str, text: str):
    assert len(list(rule(Module(path, text)))) == 1


def test_every_rule_is_tried_with_a_planted_fault():
    assert {rule for rule, _, _ in PLANTED} == set(RULES)


def test_few_files_lie_beside_the_rooms():
    assert len([module for module in read_media() if module.path.count("/") == 1]) <= MAX_FLAT_FILES


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("media/reading/pipeline.py", "from mcai_worker_sdk.media.sources.source import MediaSource"),
        ("media/reading/pipeline.py", "from mcai_worker_sdk.media.pyav import exact"),
        ("media/reading/pipeline.py", "from mcai_worker_sdk.media.reading.chunks import Chunk"),
        ("media/sources/live.py", "from mcai_worker_sdk.media.srt import SrtReader"),
    ],
)
def test_an_arrow_that_is_drawn_is_let_through(path: str, text: str):
    assert list(undrawn_arrow(Module(path, text))) == []


def test_every_arrow_that_is_drawn_is_used():
    used = {
        (place_of(module), arrow)
        for module in read_media()
        for _, name in imported_names(module, module.tree)
        for arrow in ARROWS.get(place_of(module), ())
        if f"{name}.".startswith(f"{PACKAGE}.media.{arrow}.")
    }

    assert used == {(place, arrow) for place, arrows in ARROWS.items() for arrow in arrows}


def test_the_page_on_media_has_the_rooms_and_their_arrows():
    page = (ROOT / "docs/explanation/media.md").read_text()
    rows = re.findall(r"^\| `(\w+)/?` \| .* \| ?(.*?) ?\|$", page.partition("## The way")[0], re.MULTILINE)
    ground = re.search(r"^The ground: (.*)$", page, re.MULTILINE)

    assert {room: set(re.findall(r"`([\w.]+)`", arrows)) for room, arrows in rows} == {
        room: set(ARROWS.get(room, ())) for room in FLOORS if room not in {*GROUND, "__init__"}
    }
    assert ground is not None
    assert set(re.findall(r"`(\w+)`", ground[1])) == set(GROUND)
