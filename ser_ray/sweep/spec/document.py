"""A sweep file's text as plain data, with the position of each key in the file."""

import copy
import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from ser_ray.errors import InputError

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of a file down to a value."""

_CORE = "tag:yaml.org,2002:"
_TEXTS = {_CORE + "str", _CORE + "timestamp"}
_NUMBERS = {_CORE + "int": "int", _CORE + "float": "float", _CORE + "bool": "bool"}
_MOST_VALUES = 200_000


@dataclass(frozen=True)
class Document:
    """A YAML text as plain data: dicts, lists, texts, numbers, true, false and None."""

    name: str  # as messages call it: the file, or an option of the command line
    data: dict[str, Any]
    origins: Mapping[KeyPath, str] = field(repr=False)  # position of each key and list item: "sweeps/demo.yaml:3:5"

    def where(self, path: KeyPath) -> str:
        """Return the position of a path or, if it has none, of the nearest mapping or list around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return self.name


def read_document(file: Path) -> Document:
    """Read a YAML file; raise InputError if it cannot be read or `parse_document` refuses it."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{file}: no such file{_files_near(file)}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not valid UTF-8 (byte {error.start}: {error.reason})") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    return parse_document(text, str(file))


def parse_document(text: str, name: str) -> Document:
    """Parse a YAML 1.2 text that contains a mapping, as plain data alone.

    Raises:
        InputError: naming line and column of the first mistake; tags that name types or code to load, merge keys and
            keys given twice are mistakes.
    """
    data, origins = _parse(text, name, lambda node: f"{name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}")
    if not isinstance(data, dict):
        found = "is empty" if data is None else f"holds {shown(data)}"
        raise InputError(f"{name}: {found}, but a sweep file is a mapping, such as\nname: my-sweep")
    return Document(name, data, origins)


def parse_value(text: str, option: str) -> Any:
    """Parse the value of a command-line option as YAML; raise InputError, naming the option, for a mistake."""
    if not text.strip():
        raise InputError(f"{option}: no value after '='; write null for none")
    return _parse(text, option, lambda node: option)[0]


def shown(value: Any) -> str:
    """Format a value for messages: as YAML would write it, cut to a readable length."""
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {shown(inner)}" for key, inner in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(shown(inner) for inner in value) + "]"
    elif isinstance(value, str):
        text = f'"{value}"'
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    else:
        text = repr(value)
    return shortened(text)


def shortened(text: str, most: int = 80) -> str:
    """Cut a text to at most `most` characters."""
    return text if len(text) <= most else text[: most - 4] + " ..."


class _Constructor:
    """Converts YAML nodes to plain data and records the position of each key."""

    def __init__(self, yaml: YAML, name: str, place: Callable[[Node], str]) -> None:
        self.yaml, self.name, self.place = yaml, name, place
        self.origins: dict[KeyPath, str] = {}
        self.open: set[int] = set()
        self.count = 0

    def value(self, node: Node, path: KeyPath) -> Any:
        self.count += 1
        if id(node) in self.open or self.count > _MOST_VALUES:
            raise self.error(node, f"aliases (*) make this recursive or larger than {_MOST_VALUES} values")
        self.open.add(id(node))
        data: Any
        if isinstance(node, MappingNode) and node.tag == _CORE + "map":
            data = self.mapping(node, path)
        elif isinstance(node, SequenceNode) and node.tag == _CORE + "seq":
            data = []
            for index, item in enumerate(node.value):
                self.origins[(*path, index)] = self.place(item)
                data.append(self.value(item, (*path, index)))
        elif isinstance(node, ScalarNode):
            data = self.scalar(node)
        else:
            raise self.refused_tag(node)
        self.open.remove(id(node))
        return data

    def mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _CORE + "merge":
                raise self.error(key_node, "merge keys (<<) are not supported; write the keys out")
            key = self.value(key_node, path)
            if not isinstance(key, str):
                raise self.error(key_node, f"key {shown(key)} is not a string")
            if key in data:
                raise self.error(key_node, f"key {key} is given here and in line {lines[key]}; keep one of them")
            lines[key] = key_node.start_mark.line + 1
            self.origins[(*path, key)] = self.place(key_node)
            data[key] = self.value(value_node, (*path, key))
        return data

    def scalar(self, node: ScalarNode) -> Any:
        if node.tag in _TEXTS:
            return node.value
        if node.tag == _CORE + "null":
            return None
        if node.tag not in _NUMBERS:
            raise self.refused_tag(node)
        construct = getattr(self.yaml.constructor, f"construct_yaml_{_NUMBERS[node.tag]}")
        try:
            return construct(node)
        except (ValueError, KeyError):
            kind = _NUMBERS[node.tag]
            most = f" of at most {sys.get_int_max_str_digits()} digits" if len(node.value) > 80 else ""
            raise self.error(node, f"{shortened(repr(node.value))} is not a valid {kind}{most}") from None

    def refused_tag(self, node: Node) -> InputError:
        tag = str(node.tag).replace(_CORE, "!!")
        return self.error(
            node,
            f"tag {tag} is not allowed: a sweep file contains only strings, numbers, lists and mappings; remove the "
            "tag",
        )

    def error(self, node: Node, text: str) -> InputError:
        return InputError(f"{self.place(node)}: {text}")


def _parse(text: str, name: str, place: Callable[[Node], str]) -> tuple[Any, dict[KeyPath, str]]:
    yaml = YAML(typ="safe", pure=True)
    try:
        nodes = list(yaml.compose_all(text))
        constructor = _Constructor(yaml, name, place)
        data = constructor.value(nodes[0], ()) if nodes and nodes[0] is not None else None
    except MarkedYAMLError as error:
        raise InputError(_syntax_message(error, name, text)) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{name}:{line}: the character {text[error.position]!r} is not allowed in YAML") from None
    except YAMLError as error:
        raise InputError(f"{name}: not valid YAML: {error}") from None
    except RecursionError:
        raise InputError(f"{name}: lists and mappings are nested too deeply") from None
    if len(nodes) > 1:
        raise InputError(f"{place(nodes[1])}: a second document (---); a sweep file contains only one")
    return data, constructor.origins


def _syntax_message(error: MarkedYAMLError, name: str, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "cannot be read"
    if error.context and error.context_mark and error.problem:
        problem += f", {error.context} that begins in line {error.context_mark.line + 1}"
    if "'\\t'" in problem:
        problem += "; indent with spaces, not tabs"
    if mark is None or name.startswith("--"):
        return f"{name}: not valid YAML: {problem}; quote strings with special characters"
    message = f"{name}:{mark.line + 1}:{mark.column + 1}: not valid YAML: {problem}"
    lines = text.splitlines()
    return f"{message}\n  {shortened(lines[mark.line].strip())}" if mark.line < len(lines) else message


def _files_near(file: Path) -> str:
    """List in words the sweep files near a missing one: in its folder or in sweeps/."""
    folders = [folder for folder in (file.parent, Path("sweeps")) if folder.is_dir()]
    known = dict.fromkeys(
        str(found) for folder in folders for found in sorted(folder.iterdir()) if found.suffix in (".yaml", ".yml")
    )
    if not known:
        return f", and no sweep file in {file.parent}"
    by_stem = {Path(path).stem: path for path in known}
    near = difflib.get_close_matches(file.stem, by_stem, n=1, cutoff=0.5)
    listed = ", ".join(list(known)[:8]) + (", ..." if len(known) > 8 else "")
    meant = f"; did you mean {by_stem[near[0]]}?" if near else ""
    return f"{meant} (there are: {listed})"


def override(document: Document, assignments: Sequence[str], keys: Sequence[str]) -> Document:
    """Replace values of a document by texts KEY=VALUE, in their order; messages then name the option as their origin.

    KEY is one of the dotted `keys` from the top of the file (schedule.max_hours) or from within `trial`
    (training.epochs). VALUE is read as YAML. Raises InputError for any other key, naming the closest one.
    """
    data = copy.deepcopy(document.data)
    origins = dict(document.origins)
    for assignment in assignments:
        option = f"--set {shortened(assignment, 200)}"
        key, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"{option}: no '='; write --set KEY=VALUE, such as --set training.epochs=5")
        path = _path(key.strip(), option, keys)
        _put(data, path, parse_value(value, option), option)
        origins = {known: place for known, place in origins.items() if known[: len(path)] != path}
        origins[path] = option
    return Document(document.name, data, origins)


def _path(key: str, option: str, keys: Sequence[str]) -> KeyPath:
    for full in (key, f"trial.{key}"):
        if full in keys:
            return tuple(full.split("."))
    inner = [known for known in keys if known.startswith((f"{key}.", f"trial.{key}."))]
    short = [known.removeprefix("trial.") for known in keys]
    if inner:
        raise InputError(f"{option}: {key} is a section; set one of its keys, such as {inner[0]}")
    if key.startswith("explore"):
        raise InputError(
            f"{option}: explore is a list and can only be set as a whole, such as "
            "--set 'explore=[{training.sequence_s: [6, 20]}]'; to plan fewer trials, set schedule.max_configurations"
        )
    meant = closest_path(key, short)
    raise InputError(f"{option}: unknown key {key}" + (meant or f" (known: {', '.join(short)})"))


def _put(data: dict[str, Any], path: KeyPath, value: Any, option: str) -> None:
    for depth, step in enumerate(path[:-1]):
        inner = data.get(str(step))
        if inner is None:
            inner = data[str(step)] = {}
        if not isinstance(inner, dict):
            section = ".".join(map(str, path[: depth + 1]))
            raise InputError(f"{option}: {section} is not a mapping in the sweep file; correct that first")
        data = inner
    data[str(path[-1])] = value


def closest(word: str, known: Iterable[str]) -> str:
    """Suggest the known word closest to one, as "; did you mean X?", or nothing if none is close."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.55)
    return f"; did you mean {near[0]}?" if near else ""


def closest_path(key: str, known: Iterable[str]) -> str:
    """Suggest the dotted key closest to one, as "; did you mean X?", or nothing if none is close.

    The closest is the same name elsewhere, else the closest name in the same section, else the closest key.
    """
    *section, last = key.split(".")
    names = [(path.split(".")[:-1], path.split(".")[-1], path) for path in known]
    beside = {name: path for place, name, path in names if place == section}
    near = [path for _, name, path in names if name == last]
    near += [beside[name] for name in difflib.get_close_matches(last, beside, n=1, cutoff=0.55)]
    if near or (section and beside):
        return f"; did you mean {near[0]}?" if near else ""
    return closest(key, [path for _, _, path in names])
