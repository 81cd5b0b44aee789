"""Read and write corpus.json, and check the files that it lists; contents are checked before they are used."""

import contextlib
import hashlib
import json
import re
import stat
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ser_ray.corpus.store.schema import (
    INDEX,
    MANIFEST,
    SAMPLE_RATE,
    SCHEMA_VERSION,
    SHARDS,
    Manifest,
    Shard,
    samples_per_frame,
)
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
            raise InputError(f"{path} has {size} bytes, but a corpus manifest has at most {MOST_BYTES}: {_AGAIN}")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # invalid UTF-8, invalid JSON, and too deeply nested brackets
        raise InputError(f"{path} is not a corpus manifest ({error}): {_AGAIN}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a corpus manifest (it is not a JSON object): {_AGAIN}")
    return values


def _problems(manifest: Manifest) -> Iterator[str]:
    """Yield the invalid values of a manifest, which no import writes."""
    for key in ("name", "notice"):
        if not isinstance(getattr(manifest, key), str):
            yield f"{key} is {_shown(getattr(manifest, key))}, but must be a string"
    rate = manifest.label_rate
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= SAMPLE_RATE:
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
        yield f"preparation is {_shown(notes)}, but must be an object of strings"
    targets = manifest.targets
    if not all(isinstance(target, str) and target for target in targets) or len(set(targets)) < len(targets):
        yield f"targets are {_shown(list(targets))}, but must be unique names"
    elif not all(is_plain_name(target) for target in targets):
        yield f"targets are {_shown(list(targets))}, but must not contain unprintable characters"
    names: set[str] = set()
    for number, shard in enumerate(manifest.shards):
        yield from _shard_problems(f"shards[{number}]", shard, names)
        names.add(str(shard.name))


def _shard_problems(where: str, shard: Shard, before: set[str]) -> Iterator[str]:
    """Yield the invalid values of a shard's entry; its name must not point outside of shards/."""
    if not isinstance(shard.name, str) or not re.fullmatch(r"[^/\\\x00-\x1f]{1,255}", shard.name):
        yield f"{where}.name is {_shown(shard.name)}, but must be the name of a file in shards/"
    elif shard.name in (".", ".."):
        yield f"{where}.name is {shard.name!r}, but must be the name of a file in shards/"
    elif shard.name in before:
        yield f"{where}.name is {_shown(shard.name)}, which is the name of an earlier shard; names must be unique"
    if not _is_hex(shard.sha256, 64):
        yield f"{where}.sha256 is {_shown(shard.sha256)}, but must be 64 hexadecimal digits"
    if not _is_integer(shard.size_bytes, 1, MOST_SHARD_BYTES):
        yield f"{where}.size_bytes is {_shown(shard.size_bytes)}, but must be a whole number from 1 to 2^60"


def _is_hex(value: object, digits: int) -> bool:
    return isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{digits}}}", value) is not None


def _is_integer(value: object, least: int, most: int | None = None) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return least <= value and (most is None or value <= most)


def _shown(value: object) -> str:
    """Format a value for a message, a long one abbreviated."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


class AlteredError(InputError):
    """A file of a corpus does not match the manifest, so that no result of the corpus can be trusted."""


@contextlib.contextmanager
def reading_file(what: str) -> Iterator[None]:
    """Convert exceptions of Arrow or the system while a file is read to an InputError that begins with `what`."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{what} cannot be read ({reason}): copy it again or import the corpus again") from error


def altered(path: Path, found: str, wanted: str) -> AlteredError:
    """Return the error for a file whose hash differs from the manifest's."""
    what = "shard " if path.parent.name == SHARDS else ""
    return AlteredError(
        f"{what}{path} was altered: its SHA-256 is {found}, but {MANIFEST} says {wanted}; copy it again or import the "
        "corpus again"
    )


def missing_corpus(folder: Path) -> str:
    """Return the message for a folder without a manifest."""
    if (folder / SHARDS).is_dir() or (folder / INDEX).is_file():
        return (
            f"{folder} is an incomplete corpus: it has shards but no {MANIFEST}, which is written last. Delete it and "
            "import again"
        )
    what = "is not a corpus" if folder.is_dir() else "does not exist, so it is not a corpus"
    return (
        f"{folder} {what} (a folder with {MANIFEST}). Import your recordings with\n"
        f"  ser-ray corpus import table SRC {folder}\n"
        "or make a synthetic corpus with\n"
        f"  ser-ray corpus synthetic {folder}"
    )


def check_size(folder: Path, shard: Shard) -> None:
    """Refuse a shard that is missing or whose length differs from the manifest.

    Reading a memory map of a truncated file would kill the process without an exception.

    Raises:
        AlteredError: naming the shard.
        InputError: if the file cannot be examined.
    """
    path = folder / SHARDS / shard.name
    try:
        seen = path.stat()
    except FileNotFoundError as error:
        raise AlteredError(f"shard {path} is missing, but {MANIFEST} lists it: import the corpus again") from error
    except OSError as error:
        raise InputError(f"shard {path} cannot be accessed ({error.strerror or error})") from error
    if not stat.S_ISREG(seen.st_mode):
        raise AlteredError(f"shard {path} is not a regular file: copy it again or import the corpus again")
    size = seen.st_size
    if size != shard.size_bytes:
        raise AlteredError(
            f"shard {path} has {size} bytes, but {MANIFEST} says {shard.size_bytes}: it is truncated or was altered; "
            "copy it again or import the corpus again"
        )


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
