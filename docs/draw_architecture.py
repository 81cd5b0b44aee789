"""Draws architecture.svg from the imports of the package: rooms on floors, arrows to the rooms that they import.

    python docs/draw_architecture.py

A room is a folder of ser_ray or a file beside them; `sweep` and `corpus` are shown with the rooms inside. A room stands
one floor above the highest room that it imports. An arrow that follows from others is left out.
"""

import ast
from collections.abc import Iterator
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "ser_ray"
NESTED = ("sweep",)
BASE = ("errors", "files", "signals", "plain_text", "unwritable", "provenance", "allocation", "process", "shadows")
"""What nearly all use; drawn as one box without arrows."""
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 150, 34, 18, 56, 20

Rooms = dict[str, set[str]]


def read_rooms() -> Rooms:
    """Return room -> the other rooms that its files import, inside functions and for type checkers, too."""
    rooms: Rooms = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = _room(path.relative_to(PACKAGE).with_suffix("").parts)
        imported = {_room(tuple(name.split(".")[1:])) for name in _imports(path)}
        rooms.setdefault(room, set()).update(imported - {room, ""})
    del rooms["__init__"]
    return {room: {other for other in others if other in rooms} for room, others in rooms.items()}


def _room(parts: tuple[str, ...]) -> str:
    """Return the room of a module or of a name in it, from its path below ser_ray."""
    if not parts:
        return ""
    if parts[0] in NESTED:
        inner = parts[1] if len(parts) > 1 else "__init__"
        known = (PACKAGE / parts[0] / inner).is_dir() or (PACKAGE / parts[0] / f"{inner}.py").is_file()
        return f"{parts[0]}/{inner}" if known and inner not in ("__init__", "__main__", "command") else parts[0]
    return "base" if parts[0] in BASE else parts[0]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ser_ray":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif path.name == "cli.py" and isinstance(node, ast.Constant) and str(node.value).startswith("ser_ray."):
            yield str(node.value)  # a command's module, which it imports by name when the command is called


def floors_of(rooms: Rooms) -> dict[str, int]:
    """Return room -> floor, from 0; a room stands above all that it imports."""
    floors: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in floors:
            floors[room] = 1 + max(map(floor, sorted(rooms[room])), default=-1)
        return floors[room]

    for room in rooms:
        floor(room)
    return floors


def arrows_of(rooms: Rooms) -> list[tuple[str, str]]:
    """Return the imports that do not follow from others, without those of what nearly all use."""

    def below(room: str) -> set[str]:
        return rooms[room].union(*map(below, rooms[room]))

    return [
        (room, other)
        for room in sorted(rooms)
        for other in sorted(rooms[room] - {"base"})
        if not any(other in below(between) for between in rooms[room] - {other})
    ]


def draw(rooms: Rooms) -> str:
    """Return the picture as SVG."""
    floors = floors_of(rooms)
    top = max(floors.values())
    rows = [sorted(room for room in rooms if floors[room] == floor) for floor in range(top, -1, -1)]
    width = 2 * MARGIN + max(map(len, rows)) * (BOX_WIDTH + GAP_X) - GAP_X
    height = 2 * MARGIN + len(rows) * (BOX_HEIGHT + GAP_Y) - GAP_Y
    places: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        left = (width - len(row) * (BOX_WIDTH + GAP_X) + GAP_X) / 2
        for column, room in enumerate(row):
            places[room] = (left + column * (BOX_WIDTH + GAP_X), MARGIN + number * (BOX_HEIGHT + GAP_Y))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="14">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#557"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for room, other in arrows_of(rooms):
        (x1, y1), (x2, y2) = places[room], places[other]
        start, end = (x1 + BOX_WIDTH / 2, y1 + BOX_HEIGHT), (x2 + BOX_WIDTH / 2, y2)
        bend = (end[1] - start[1]) / 2
        lines.append(
            f'<path d="M{start[0]:g},{start[1]:g} C{start[0]:g},{start[1] + bend:g} {end[0]:g},{end[1] - bend:g} '
            f'{end[0]:g},{end[1]:g}" fill="none" stroke="#557" stroke-width="1.2" marker-end="url(#tip)"/>'
        )
    for room, (x, y) in places.items():
        fill = "#e8eef7" if room.startswith("sweep") else "#eef5e8" if room.startswith("corpus") else "#f6f2ea"
        label = escape("files, errors, signals, ..." if room == "base" else room)
        lines.append(
            f'<rect x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" fill="{fill}" stroke="#557"/>'
            f'<text x="{x + BOX_WIDTH / 2:g}" y="{y + BOX_HEIGHT / 2 + 5:g}" text-anchor="middle"'
            f"{' font-size=' + chr(34) + '12' + chr(34) if room == 'base' else ''}>{label}</text>"
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    (DOCS / "architecture.svg").write_text(draw(read_rooms()), encoding="utf-8")
