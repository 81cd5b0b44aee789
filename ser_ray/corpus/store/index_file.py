"""Reads index.parquet, and refuses one that is not as the import wrote it."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ser_ray.corpus.store.files import AlteredError, altered, naming
from ser_ray.corpus.store.schema import INDEX, MANIFEST, Manifest, check_index, index_fingerprint
from ser_ray.errors import InputError


def read_index(folder: Path, manifest: Manifest) -> pa.Table:
    """Return the index of a corpus.

    Its bytes are compared with the manifest's hash before anything makes sense of them.

    Raises:
        InputError: if it is absent, cannot be read, or was altered.
    """
    path = folder / INDEX
    if not path.is_file():
        raise InputError(f"{folder} lacks {INDEX}: the corpus is not whole, import it again")
    with naming(str(path)), pa.OSFile(str(path)) as file:
        # Arrow's own memory: a thread of its that lets go of Python's while the process ends would abort it
        content = file.read_buffer()
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.index_sha256:
        raise altered(path, found, manifest.index_sha256)
    with naming(str(path)):
        index = pq.ParquetFile(pa.BufferReader(content)).read()
        index.validate(full=True)
    try:
        check_index(index)
    except InputError as error:
        raise InputError(f"{folder}/{error}") from error
    found = index_fingerprint(
        manifest.shards,
        index,
        targets=manifest.targets,
        label_rate=manifest.label_rate,
        sample_rate=manifest.sample_rate,
    )
    if found != manifest.fingerprint:
        raise AlteredError(
            f"{folder}: {MANIFEST} and {INDEX} do not belong together (fingerprint {found}, but "
            f"{manifest.fingerprint} was written): one was altered, import the corpus again"
        )
    return index
