"""Draws architecture.svg from the imports of the package: rooms on floors, arrows to the rooms that they import.

    python docs/draw_architecture.py

A room is a folder of ser_ray or a file beside them; `sweep` is shown with the rooms inside. A room stands
one floor above the highest room that it imports. An arrow that follows from others is left out.
"""

import ast
import itertools
import statistics
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "ser_ray"
NESTED = ("sweep",)
BASE = (
    "errors",
    "files",
    "plain_text",
    "provenance",
    "allocation",
    "process",
    "shadows",
)
"""What nearly all use; drawn as one box without arrows."""
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 130, 32, 40, 34, 20
LANE_WIDTH = 30
"""Of an arrow that passes a floor between the rooms there."""

Rooms = dict[str, set[str]]
Stop = tuple[str, str]
"""Of an arrow: a room and "", or the arrow's own name and the floor that it passes."""


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


def chains_of(rooms: Rooms, floors: dict[str, int]) -> list[list[Stop]]:
    """Return each arrow as the stops that it passes: its room, its lane on each floor between, the imported room."""
    return [
        [
            (room, ""),
            *((f"{room} > {other}", str(floor)) for floor in range(floors[room] - 1, floors[other], -1)),
            (other, ""),
        ]
        for room, other in arrows_of(rooms)
    ]


def centres_of(rooms: Rooms, floors: dict[str, int], chains: list[list[Stop]]) -> dict[Stop, float]:
    """Return stop -> horizontal centre; a stop stands below those that lead to it, as far as there is place."""
    levels: dict[int, list[Stop]] = {floor: [] for floor in floors.values()}
    for room, floor in floors.items():
        levels[floor].append((room, ""))
    above: dict[Stop, list[Stop]] = {}
    for chain in chains:
        for upper, lower in itertools.pairwise(chain):
            above.setdefault(lower, []).append(upper)
            if lower[1]:
                levels[int(lower[1])].append(lower)
    centres: dict[Stop, float] = {}
    for _, stops in sorted(levels.items(), reverse=True):
        ideal = {stop: statistics.fmean([centres[other] for other in above.get(stop, [])] or [0]) for stop in stops}
        order = sorted(stops, key=lambda stop: (ideal[stop], stop))
        widths = [LANE_WIDTH if stop[1] else BOX_WIDTH + GAP_X for stop in order]
        starts = [sum(widths[:place]) for place in range(len(order))]
        middles = [start + width / 2 for start, width in zip(starts, widths, strict=True)]
        shift = statistics.fmean(ideal[stop] - middle for stop, middle in zip(order, middles, strict=True))
        centres |= {stop: middle + shift for stop, middle in zip(order, middles, strict=True)}
    left = min(centre for stop, centre in centres.items() if not stop[1]) - BOX_WIDTH / 2 - MARGIN
    return {stop: centre - left for stop, centre in centres.items()}


def draw(rooms: Rooms) -> str:
    """Return the picture as SVG."""
    floors = floors_of(rooms)
    chains, top = chains_of(rooms, floors), max(floors.values())
    centres = centres_of(rooms, floors, chains)
    width = max(centres.values()) + BOX_WIDTH / 2 + MARGIN
    height = 2 * MARGIN + (top + 1) * (BOX_HEIGHT + GAP_Y) - GAP_Y

    def y_of(stop: Stop) -> float:
        return MARGIN + (top - int(stop[1] or floors[stop[0]])) * (BOX_HEIGHT + GAP_Y)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-family="sans-serif" '
        'font-size="14">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#557"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" fill="white"/>',
    ]
    for chain in chains:
        path = ""
        for upper, lower in itertools.pairwise(chain):
            out = sorted((c[c.index(upper) + 1] for c in chains if upper in c[:-1]), key=centres.__getitem__)
            into = sorted((c[c.index(lower) - 1] for c in chains if lower in c[1:]), key=centres.__getitem__)
            x1 = centres[upper] + (0 if upper[1] else BOX_WIDTH * ((out.index(lower) + 1) / (len(out) + 1) - 0.5))
            x2 = centres[lower] + (0 if lower[1] else BOX_WIDTH * ((into.index(upper) + 1) / (len(into) + 1) - 0.5))
            y1, y2 = y_of(upper) + BOX_HEIGHT, y_of(lower)
            path += f"M{x1:g},{y1:g} " if not path else f" L{x1:g},{y1:g} "
            path += f"C{x1:g},{y1 + GAP_Y / 2:g} {x2:g},{y2 - GAP_Y / 2:g} {x2:g},{y2:g}"
        lines.append(f'<path d="{path}" fill="none" stroke="#557" stroke-width="1.2" marker-end="url(#tip)"/>')
    for room in sorted(rooms):
        x, y = centres[room, ""] - BOX_WIDTH / 2, y_of((room, ""))
        fill = "#e8eef7" if room.startswith("sweep") else "#f6f2ea"
        label = "files, errors, ..." if room == "base" else room
        lines.append(
            f'<rect x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" fill="{fill}" stroke="#557"/>'
            f'<text x="{x + BOX_WIDTH / 2:g}" y="{y + BOX_HEIGHT / 2 + 5:g}" text-anchor="middle">{label}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    (DOCS / "architecture.svg").write_text(draw(read_rooms()), encoding="utf-8")
