"""
The picture of the rooms and of what each stands on: ``python -m tools.rooms`` draws ``docs/explanation/rooms.svg``.

The floors are those of the architecture test, the arrows are the imports of the source as it is. Arrows to the lowest
floor are left out: nearly every room has one to each room there.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tests.unit.house import ROOT, imported_names, read_house
from tests.unit.test_architecture import FLOORS, room_of

__all__ = ["PICTURE", "arrows", "draw"]

PICTURE = ROOT / "docs" / "explanation" / "rooms.svg"

#: Sizes of the picture, in pixels.
WIDTH, FLOOR_HEIGHT, BOX_WIDTH, BOX_HEIGHT, MARGIN, ASIDE = 900, 78, 112, 34, 20, 150


def arrows() -> set[tuple[str, str]]:
    """Pairs of rooms of which the first imports the second."""
    found = set()
    for module in read_house():
        for _, name in imported_names(module, module.tree):
            room = room_of(name)
            if module.room and room and room != module.room and FLOORS[room] > 0:
                found.add((module.room, room))
    return found


def places() -> dict[str, tuple[float, float]]:
    """Left upper corner of each room's box: the highest floor on top, the rooms of one side by side."""
    top = max(FLOORS.values())
    found = {}
    for floor, group in groupby(sorted(FLOORS, key=lambda room: (FLOORS[room], room)), key=lambda room: FLOORS[room]):
        rooms = list(group)
        gap = (WIDTH - len(rooms) * BOX_WIDTH) / (len(rooms) + 1)
        # Rooms that are alone on their floors would hide each other's arrows.
        aside = (ASIDE if floor % 2 else -ASIDE) if len(rooms) == 1 else 0
        for index, room in enumerate(rooms):
            found[room] = (gap + index * (BOX_WIDTH + gap) + aside, MARGIN + (top - floor) * FLOOR_HEIGHT)
    return found


def draw() -> str:
    """The picture, as SVG: an arrow leaves the box below and reaches the other from above."""
    where = places()
    height = 2 * MARGIN + max(FLOORS.values()) * FLOOR_HEIGHT + BOX_HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        '  font-family="sans-serif" font-size="14">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '  <path d="M0 0 8 4 0 8z" fill="#889"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for upper, lower in sorted(arrows()):
        begin, end = where[upper], where[lower]
        x, y, to_x, to_y = begin[0] + BOX_WIDTH / 2, begin[1] + BOX_HEIGHT, end[0] + BOX_WIDTH / 2, end[1]
        lines += [
            f'<line x1="{x:.0f}" y1="{y:.0f}" x2="{to_x:.0f}" y2="{to_y:.0f}"',
            '  stroke="#889" stroke-opacity="0.6" marker-end="url(#tip)"/>',
        ]
    for room, (x, y) in where.items():
        lines += [
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"',
            '  fill="#eef3fb" stroke="#357"/>',
            f'<text x="{x + BOX_WIDTH / 2:.0f}" y="{y + 22:.0f}" text-anchor="middle" fill="#124">{room}</text>',
        ]
    return "\n".join([*lines, "</svg>\n"])


def main() -> None:
    """Write the picture."""
    PICTURE.write_text(draw(), encoding="utf-8")
    print(Path(PICTURE).relative_to(ROOT))


if __name__ == "__main__":
    main()
