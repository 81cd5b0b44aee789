"""Draws architecture.svg from the imports of the package: rooms on floors, arrows to the rooms that they import.

    python docs/draw_architecture.py

A room is a folder of ser_ray or a file beside them; `sweep` is shown with the rooms inside. A room stands
one floor above the highest room that it imports. An arrow that follows from others is left out.
"""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "ser_ray"
NESTED = ("sweep",)
BASE = (
    "errors",
    "files",
    "signals",
    "plain_text",
    "unwritable",
    "provenance",
    "allocation",
    "process",
    "shadows",
)
"""What nearly all use; drawn as one box without arrows."""
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 130, 32, 40, 44, 20

Rooms = dict[str, set[str]]


def read_rooms() -> Rooms:
    """Return room -> the other rooms that its files import, inside functions and for type checkers, too."""
    rooms: Rooms = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = _room(path.relative_to(PACKAGE).with_suffix("").parts)
        imported = {_room(tuple(name.split(".")[1:])) for name in _imports(path)}
        rooms.setdefault(room, set()).update(imported - {room, ""})
    for entry in ("__init__", "__main__"):  # which nobody imports, or for the version alone
        del rooms[entry]
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


def columns_of(rooms: Rooms, floors: dict[str, int]) -> dict[str, int]:
    """Return room -> column in its floor; a room stands below those that import it, as far as there is room."""
    columns: dict[str, int] = {}
    above: dict[str, list[str]] = {room: [] for room in rooms}
    for room, other in arrows_of(rooms):
        above[other].append(room)
    for floor in range(max(floors.values()), -1, -1):
        wished = {
            room: statistics.fmean([columns[other] for other in above[room]] or [0])
            for room in sorted(rooms)
            if floors[room] == floor
        }
        first = round(statistics.fmean(wished.values()) - (len(wished) - 1) / 2)
        for place, room in enumerate(sorted(wished, key=lambda room: (wished[room], room))):
            columns[room] = first + place
    return {room: column - min(columns.values()) for room, column in columns.items()}


def draw(rooms: Rooms) -> str:
    """Return the picture as SVG."""
    floors = floors_of(rooms)
    columns, top = columns_of(rooms, floors), max(floors.values())
    width = 2 * MARGIN + (max(columns.values()) + 1) * (BOX_WIDTH + GAP_X) - GAP_X
    height = 2 * MARGIN + (top + 1) * (BOX_HEIGHT + GAP_Y) - GAP_Y
    places = {
        room: (MARGIN + columns[room] * (BOX_WIDTH + GAP_X), MARGIN + (top - floor) * (BOX_HEIGHT + GAP_Y))
        for room, floor in floors.items()
    }
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="14">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#557"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    arrows = arrows_of(rooms)
    for room, other in arrows:
        out = sorted((end for start, end in arrows if start == room), key=lambda end: places[end])
        into = sorted((start for start, end in arrows if end == other), key=lambda start: places[start])
        x1 = places[room][0] + BOX_WIDTH * (out.index(other) + 1) / (len(out) + 1)
        x2 = places[other][0] + BOX_WIDTH * (into.index(room) + 1) / (len(into) + 1)
        y1, y2 = places[room][1] + BOX_HEIGHT, places[other][1]
        lines.append(
            f'<path d="M{x1:g},{y1:g} C{x1:g},{y1 + GAP_Y:g} {x2:g},{y2 - GAP_Y:g} {x2:g},{y2:g}" fill="none" '
            'stroke="#557" stroke-width="1.2" marker-end="url(#tip)"/>'
        )
    for room, (x, y) in places.items():
        fill = "#e8eef7" if room.startswith("sweep") else "#f6f2ea"
        label = "files, errors, ..." if room == "base" else room
        lines.append(
            f'<rect x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" fill="{fill}" stroke="#557"/>'
            f'<text x="{x + BOX_WIDTH / 2:g}" y="{y + BOX_HEIGHT / 2 + 5:g}" text-anchor="middle">{label}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    (DOCS / "architecture.svg").write_text(draw(read_rooms()), encoding="utf-8")
