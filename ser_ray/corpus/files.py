"""Looks at a corpus's files: whether they are there, whole, and as they were written."""

import hashlib
from pathlib import Path

from ser_ray.corpus.schema import INDEX, MANIFEST, SHARDS, Shard
from ser_ray.errors import InputError


def absence(folder: Path) -> str:
    """Return the message for a folder without a manifest.

    Args:
        folder: of the corpus that was expected.
    """
    if (folder / SHARDS).is_dir() or (folder / INDEX).is_file():
        return (
            f"{folder} is a half-written corpus: it has shards but no {MANIFEST}, which is written "
            "last. Delete it and import again"
        )
    what = "is not a corpus" if folder.is_dir() else "does not exist: no corpus"
    return (
        f"{folder} {what} (a folder with {MANIFEST}). Make one from your recordings with\n"
        f"  ser-ray corpus import table SRC {folder}\n"
        "or a made-up one with\n"
        f"  ser-ray corpus synthetic {folder}"
    )


def check_size(folder: Path, shard: Shard) -> None:
    """Refuse a shard that is absent or has not the length that the manifest says.

    A file cut short under a memory map ends the process without an exception: hence this look.

    Args:
        folder: of the corpus.
        shard: as in the manifest.

    Raises:
        InputError: naming the shard.
    """
    path = folder / SHARDS / shard.name
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise InputError(f"shard {path} is missing, but {MANIFEST} lists it: import the corpus again") from error
    if size != shard.size_bytes:
        raise InputError(
            f"shard {path} has {size} bytes, but {MANIFEST} says {shard.size_bytes}: it was cut "
            "short or altered; copy it again or import the corpus again"
        )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
