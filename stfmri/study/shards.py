"""The cache's format: HDF5 shards of preprocessed volumes, and the index that finds them.

A shard holds, in file format version 2 (root attribute `format_version`):

    volumes      float16 (N, C, D, H, W), contiguous and uncompressed.
                 A channel is a contrast; one that a subject lacks is 0 throughout.
                 D runs to superior, H to anterior, W to right. Values in [0, 1]; voxels outside
                 the brain are exactly 0.
    affines      float64 (N, 4, 4): (w, h, d, 1) → RAS millimetres, as nibabel would have it
    subject_ids  UTF-8 (N,)
    keys         UTF-8 (N,): hash of the source's bytes and of every preprocessing parameter
    attribute `contrasts`: UTF-8 (C,), the names of the channels
    attribute `chain`: every setting of preprocessing that a voxel depends on, as YAML

Because the dataset is contiguous, its bytes are one range of the file, and a reader maps that range
from the page cache: no HDF5 call a sample, no handle that must not cross a fork.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stfmri.study.errors import UserError
from stfmri.study.files import open_regular, open_text, replacing, write_atomic

FORMAT_VERSION = 2
# Column of an index with data.missing=zeros: the contrasts whose channel is 0, between blanks.
MISSING_COLUMN, NONE_MISSING = "missing_contrasts", "none"
INDEX_COLUMNS = ("subject_id", "patient_id", "source", "shard", "row", "key", "sha256")


class CacheError(UserError):
    """A cache folder, index or shard that cannot be read."""


@dataclass(frozen=True)
class Shard:
    """An open shard. `volumes` is a read-only map of float16 (N, C, D, H, W)."""

    path: Path
    volumes: NDArray[np.float16]
    affines: NDArray[np.float64]
    subject_ids: list[str]
    keys: list[str]
    contrasts: tuple[str, ...]
    chain: str


@dataclass(frozen=True)
class IndexRow:
    """One volume of the cache, with every column of its cohort table in `columns`."""

    subject_id: str
    patient_id: str
    source: str
    shard: str
    row: int
    key: str
    sha256: str
    columns: dict[str, str] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)  # the cache it was read from


def missing_column(names: Sequence[str]) -> dict[str, str]:
    """The column of an index that says which contrasts a subject lacks, for `IndexRow.columns`."""
    return {MISSING_COLUMN: " ".join(names) or NONE_MISSING}


def missing_contrasts(row: IndexRow) -> tuple[str, ...] | None:
    """The contrasts whose channel is 0 throughout; None where the index does not say."""
    text = row.columns.get(MISSING_COLUMN)
    if text is None:
        return None
    return () if text == NONE_MISSING else tuple(text.split())


def write_shard(
    path: Path,
    volumes_NCDHW: NDArray[np.float16],
    affines: NDArray[np.float64],
    subject_ids: Sequence[str],
    keys: Sequence[str],
    contrasts: Sequence[str],
    chain: str,
) -> None:
    """Write a shard under a temporary name, flush it, and rename it into place.

    Args:
        volumes_NCDHW: float16 (N, C, D, H, W), in [0, 1].
        affines: (N, 4, 4), (w, h, d, 1) → RAS millimetres.
        contrasts: the names of the C channels.
        chain: every setting that a voxel depends on, as YAML.
    """
    import h5py  # late: who reads the index alone starts sooner without it

    with replacing(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs["contrasts"] = list(contrasts)
        file.attrs["chain"] = chain
        file.create_dataset("affines", data=np.asarray(affines, np.float64))
        text = h5py.string_dtype("utf-8")
        file.create_dataset("subject_ids", data=list(subject_ids), dtype=text)
        file.create_dataset("keys", data=list(keys), dtype=text)
        # h5py's default layout is contiguous; `dtype` guards against a silent widening.
        file.create_dataset("volumes", data=volumes_NCDHW, dtype=np.float16)


def open_shard(path: Path) -> Shard:
    """Map a shard's volumes; the HDF5 handle is closed again before this returns.

    Raises:
        CacheError: where the file is missing, damaged, of another version or not contiguous.
    """
    import h5py

    try:
        open_regular(path).close()
        # Published shards never change, and locks fail on NFS and Lustre.
        with h5py.File(path, "r", locking=False) as file:
            version = int(file.attrs["format_version"])
            if version != FORMAT_VERSION:
                raise CacheError(
                    f"{path} has shard format {version}, this program reads {FORMAT_VERSION}; "
                    "build the cache again with python -m preprocessing"
                )
            dataset = file["volumes"]
            offset = dataset.id.get_offset()
            if offset is None or dataset.dtype != np.float16:
                raise CacheError(f"{path}: 'volumes' must be contiguous float16; build it again")
            shape = dataset.shape
            contrasts = tuple(str(name) for name in file.attrs["contrasts"])
            if len(shape) != 5 or shape[1] != len(contrasts):
                raise CacheError(
                    f"{path}: 'volumes' has the shape {tuple(shape)}, expected (N, C, D, H, W) "
                    f"with a channel for each of {', '.join(contrasts)}; build it again"
                )
            shard_parts = {
                "affines": file["affines"][()],
                "subject_ids": [str(item) for item in file["subject_ids"].asstr()[()]],
                "keys": [str(item) for item in file["keys"].asstr()[()]],
                "contrasts": contrasts,
                "chain": str(file.attrs["chain"]),
            }
        volumes = np.memmap(path, dtype=np.float16, mode="r", offset=offset, shape=shape)
    except (OSError, KeyError, ValueError) as error:
        raise CacheError(
            f"cannot read the shard {path} ({error}); delete it and run python -m preprocessing "
            "again to rebuild it"
        ) from error
    return Shard(path=path, volumes=volumes, **shard_parts)


def voxel_sha256(volume: NDArray[np.float16]) -> str:
    """sha256 of the stored voxels, whatever subject they belong to."""
    return hashlib.sha256(np.ascontiguousarray(volume, dtype=np.float16).data).hexdigest()


def write_index(cache: Path, rows: Iterable[IndexRow]) -> None:
    """Write `index.csv`; the columns are `INDEX_COLUMNS`, then the cohort table's own."""
    rows = list(rows)
    own = list(dict.fromkeys(name for row in rows for name in row.columns))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*INDEX_COLUMNS, *own])
    for row in rows:
        fixed = [getattr(row, name) for name in INDEX_COLUMNS]
        writer.writerow([*fixed, *(row.columns.get(name, "") for name in own)])
    write_atomic(cache / "index.csv", text.getvalue())


def read_index(cache: Path) -> list[IndexRow]:
    """Read a cache's index.

    Raises:
        CacheError: where there is none, it is empty, lacks a column or names a subject twice.
    """
    path = cache / "index.csv"
    if not path.exists():
        raise CacheError(
            f"no preprocessed volumes at {cache} (index.csv is missing); build them first: "
            "python -m preprocessing with the same data and preprocessing choices"
        )
    try:
        with open_text(path, newline="") as file:
            table = csv.DictReader(file, strict=True)
            missing = [name for name in INDEX_COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise CacheError(f"{path} lacks the columns {', '.join(missing)}; build it again")
            rows = [_index_row(line, cache) for line in table]
    except (csv.Error, ValueError) as error:
        raise CacheError(
            f"{path} is damaged ({error}); python -m preprocessing writes it again"
        ) from error
    if not rows:
        raise CacheError(f"{path} lists no volumes; look at rejected.csv beside it")
    seen: set[str] = set()
    for row in rows:
        if row.subject_id in seen:
            raise CacheError(f"{path} lists the subject {row.subject_id} twice; build it again")
        seen.add(row.subject_id)
    return rows


def _index_row(line: dict[str, str], cache: Path) -> IndexRow:
    """One line of the index; a ValueError says what is wrong with it."""
    absent: Any = None  # the csv module's key for fields too many, and value of those too few
    if absent in line or absent in line.values():
        raise ValueError(f"subject {line['subject_id']!r} has more or fewer fields than the header")
    fixed: dict[str, Any] = {name: line.pop(name) for name in INDEX_COLUMNS}
    if Path(fixed["shard"]).name != fixed["shard"]:
        raise ValueError(f"{fixed['shard']!r} is no file of the cache")
    return IndexRow(**{**fixed, "row": int(fixed["row"])}, columns=line, folder=cache)


class Volumes:
    """The volumes of a cache, or of several, by subject; a shard is mapped once, on first use.

    Args:
        cache: the folder of rows that were not read from an index.

    Mapped arrays survive a fork, and a pickled `Volumes` opens its shards anew.
    """

    def __init__(self, cache: Path, rows: Sequence[IndexRow]) -> None:
        self._cache = cache
        self._rows = {row.subject_id: row for row in rows}
        self._open: dict[Path, Shard] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}

    def __getitem__(self, subject_id: str) -> NDArray[np.float16]:
        """The subject's volume, float16 (C, D, H, W), read-only.

        Raises:
            CacheError: where the shard cannot be read or its row is another subject's.
        """
        row, shard = self._row_and_shard(subject_id)
        if row.row >= len(shard.keys) or shard.keys[row.row] != row.key:
            raise CacheError(
                f"{shard.path}: row {row.row} is not {subject_id} as index.csv says; "
                "run python -m preprocessing again"
            )
        return shard.volumes[row.row]

    def verify(self, subject_id: str) -> None:
        """Check that the subject's stored voxels are those that were indexed.

        Raises:
            CacheError: where they are not, or the shard cannot be read.
        """
        found, row = voxel_sha256(self[subject_id]), self._rows[subject_id]
        if found != row.sha256:
            shard = (row.folder or self._cache) / row.shard
            raise CacheError(
                f"{shard} is damaged: the volume of {subject_id} (row {row.row}) has the sha256 "
                f"{found[:12]}, expected {row.sha256[:12]} as in index.csv; delete the shard and "
                "run python -m preprocessing again to rebuild it"
            )

    def in_stored_order(self) -> list[str]:
        """The subjects as their volumes lie on the disk."""
        rows = sorted(self._rows.values(), key=lambda r: (str(r.folder), r.shard, r.row))
        return [row.subject_id for row in rows]

    def reopened(self) -> Volumes:
        """The same volumes, with shards mapped by themselves."""
        return Volumes(self._cache, tuple(self._rows.values()))

    def affine(self, subject_id: str) -> NDArray[np.float64]:
        """The subject's affine, float64 (4, 4): (w, h, d, 1) → RAS millimetres.

        Raises:
            CacheError: where the shard cannot be read.
        """
        row, shard = self._row_and_shard(subject_id)
        return shard.affines[row.row]

    def contrasts(self, subject_id: str) -> tuple[str, ...]:
        """The names of the channels of the subject's volume.

        Raises:
            CacheError: where the shard cannot be read.
        """
        return self._row_and_shard(subject_id)[1].contrasts

    def chain(self, subject_id: str) -> str:
        """What made the subject's volume: the chain's settings as YAML.

        Raises:
            CacheError: where the shard cannot be read.
        """
        return self._row_and_shard(subject_id)[1].chain

    def _row_and_shard(self, subject_id: str) -> tuple[IndexRow, Shard]:
        row = self._rows[subject_id]
        path = (row.folder or self._cache) / row.shard
        if path not in self._open:
            self._open[path] = open_shard(path)
        return row, self._open[path]
