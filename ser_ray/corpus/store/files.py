"""Check that a corpus's files exist, are complete and unaltered."""

import contextlib
import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ser_ray.corpus.store.schema import INDEX, MANIFEST, SHARDS, Shard
from ser_ray.errors import InputError


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
        raise InputError(f"shard {path} cannot be looked at ({error.strerror or error})") from error
    if not stat.S_ISREG(seen.st_mode):
        raise AlteredError(f"shard {path} is no file: copy it again or import the corpus again")
    size = seen.st_size
    if size != shard.size_bytes:
        raise AlteredError(
            f"shard {path} has {size} bytes, but {MANIFEST} says {shard.size_bytes}: it was cut "
            "short or altered; copy it again or import the corpus again"
        )


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
