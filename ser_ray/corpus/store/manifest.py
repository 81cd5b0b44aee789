"""Read and write corpus.json; its contents are checked before they are used."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ser_ray.corpus.store.schema import SAMPLE_RATE, SCHEMA_VERSION, Manifest, Shard, samples_per_frame
from ser_ray.errors import InputError
from ser_ray.plain_text import escaped, escaped_name, is_plain_name

MOST_BYTES = 2**28
"""Largest corpus.json that is read; a million shards take less."""
MOST_SHARD_BYTES = 2**60
SHOWN_CHARACTERS = 60


def manifest_text(manifest: Manifest) -> str:
    """Serialise a manifest as the text of corpus.json."""
    return json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n"


def read_manifest(path: Path) -> Manifest:
    """Read and check a corpus.json.

    Raises:
        InputError: if it cannot be read, is not a valid manifest, or has another schema version.
    """
    values = _values(path)
    version: Any = values.get("schema_version")
    if not _is_integer(version, 1):
        raise InputError(f"{path} is not a corpus manifest (schema_version is {_shown(version)}): {_AGAIN}")
    if version != SCHEMA_VERSION:
        raise InputError(f"{path} has schema_version {version}, but this ser_ray reads {SCHEMA_VERSION}: {_AGAIN}")
    try:
        values["shards"] = tuple(Shard(**shard) for shard in values["shards"])
        values["targets"] = tuple(values["targets"])
        manifest = Manifest(**values)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not a corpus manifest ({error}): {_AGAIN}") from error
    for problem in _problems(manifest):
        raise InputError(f"{path}: {problem}; {_AGAIN}")
    # escaped here, once for all places that show these texts
    prepared = {escaped_name(what): escaped_name(how) for what, how in manifest.preparation.items()}
    name, notice = escaped_name(manifest.name), escaped(manifest.notice)
    return replace(manifest, name=name, notice=notice, preparation=prepared)


_AGAIN = "import the corpus again"


def _values(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"{path} has {size} bytes, which no corpus manifest has: {_AGAIN}")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # invalid UTF-8, invalid JSON, and too deeply nested brackets
        raise InputError(f"{path} is not a corpus manifest ({error}): {_AGAIN}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a corpus manifest (it holds no object): {_AGAIN}")
    return values


def _problems(manifest: Manifest) -> Iterator[str]:
    """Yield the invalid values of a manifest, which no import writes."""
    for key in ("name", "notice"):
        if not isinstance(getattr(manifest, key), str):
            yield f"{key} is {_shown(getattr(manifest, key))}, but must be a text"
    rate = manifest.label_rate
    if not _is_number(rate) or not 0 < rate <= SAMPLE_RATE:
        yield f"label_rate is {_shown(rate)}, but must be a number above 0, at most {SAMPLE_RATE}"
    else:
        try:
            samples_per_frame(rate)
        except InputError as error:
            yield str(error)
    if not _is_integer(manifest.sample_rate, SAMPLE_RATE, SAMPLE_RATE):
        yield f"sample_rate is {_shown(manifest.sample_rate)}, but must be {SAMPLE_RATE}"
    if not _is_hex(manifest.fingerprint, 16):
        yield f"fingerprint is {_shown(manifest.fingerprint)}, but must be 16 hexadecimal digits"
    if not _is_hex(manifest.index_sha256, 64):
        yield f"index_sha256 is {_shown(manifest.index_sha256)}, but must be 64 hexadecimal digits"
    notes = manifest.preparation
    if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
        yield f"preparation is {_shown(notes)}, but must be an object of texts"
    targets = manifest.targets
    if not all(isinstance(target, str) and target for target in targets) or len(set(targets)) < len(targets):
        yield f"targets are {_shown(list(targets))}, but must be different names"
    elif not all(is_plain_name(target) for target in targets):
        yield f"targets are {_shown(list(targets))}, of which one cannot be shown"
    names: set[str] = set()
    for number, shard in enumerate(manifest.shards):
        yield from _shard_problems(f"shards[{number}]", shard, names)
        names.add(str(shard.name))


def _shard_problems(where: str, shard: Shard, before: set[str]) -> Iterator[str]:
    """Yield the invalid values of a shard's entry; its name must not point outside of shards/."""
    if not isinstance(shard.name, str) or not re.fullmatch(r"[^/\\\x00-\x1f]{1,255}", shard.name):
        yield f"{where}.name is {_shown(shard.name)}, but must be the name of a file in shards/"
    elif shard.name in (".", ".."):
        yield f"{where}.name is {shard.name!r}, which is no file in shards/"
    elif shard.name in before:
        yield f"{where}.name is {_shown(shard.name)}, as that of a shard before it"
    if not _is_hex(shard.sha256, 64):
        yield f"{where}.sha256 is {_shown(shard.sha256)}, but must be 64 hexadecimal digits"
    if not _is_integer(shard.size_bytes, 1, MOST_SHARD_BYTES):
        yield f"{where}.size_bytes is {_shown(shard.size_bytes)}, but must be a whole number from 1 to 2^60"


def _is_hex(value: object, digits: int) -> bool:
    return isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{digits}}}", value) is not None


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _is_integer(value: object, least: int, most: int | None = None) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return least <= value and (most is None or value <= most)


def _shown(value: object) -> str:
    """Format a value for a message, a long one abbreviated."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
