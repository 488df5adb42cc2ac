"""Features of the volumes of a cache, extracted once and kept beside the shards.

`<cache>/features/features.npz` holds, of each kind of feature in its version, the rows that were
extracted so far and the sha256 of the voxels that each row is of. A volume that has changed, or
that is new, is therefore extracted again and no other. The file is replaced as a whole; one that is
damaged counts as absent. One process at a time extracts, and the others wait for what it finds.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stfmri.evidence.baselines.record import Extractor, Float32Array, FloatArray
from stfmri.study import locks
from stfmri.study.files import (
    NotRegularFileError,
    clear_leftovers,
    open_regular,
    private_dir,
    replacing,
)
from stfmri.study.shards import IndexRow, Volumes
from stfmri.study.splits import Subject, rows_in

FOLDER = "features"  # in the cache: the file, and the lock of who extracts
FILE_NAME = "features.npz"
WAIT_S = 3600.0  # for another process that extracts
UNREADABLE = (
    NotRegularFileError,
    OSError,
    ValueError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)

Progress = Callable[[Sequence[Subject]], Iterable[Subject]]


class VolumeFeatures:
    """Features of some subjects of a cache; give it to a `Task`.

    Args:
        tables: by kind, rows (N, F).
        subjects: the N subjects that they are of.
    """

    def __init__(self, tables: Mapping[str, Float32Array], subjects: Sequence[Subject]) -> None:
        self._tables = tables
        self._number = {subject.subject_id: row for row, subject in enumerate(subjects)}

    def rows(self, kind: str, subjects: Sequence[Subject]) -> FloatArray:
        """The features `kind` of `subjects` in their order, float64 (N, F)."""
        numbers = [self._number[subject.subject_id] for subject in subjects]
        return self._tables[kind][numbers].astype(np.float64)


def volume_features(
    cache: Path,
    spacing_mm: float,
    subjects: Sequence[Subject],
    extractors: Sequence[Extractor],
    progress: Progress = iter,
    *,
    external: Path | None = None,
) -> VolumeFeatures:
    """Read the features of `subjects`, extracting first what the cache's file lacks.

    Volumes are read one at a time.

    Args:
        cache: folder of the shards.
        spacing_mm: edge of its voxels.
        extractors: what to read.
        progress: wraps the subjects whose volumes are read, to show how far it is.
        external: folder of another cohort's shards, some of whose subjects are asked for.

    Raises:
        CacheError: where a volume cannot be read.
        RunHeldError: where another process does not finish extracting.
    """
    extractors = tuple({extractor.name: extractor for extractor in extractors}.values())
    file = cache / FOLDER / FILE_NAME
    known = _read(file)
    if _lacking(known, subjects, extractors):
        with locks.lock(private_dir(file.parent), wait_s=WAIT_S):
            clear_leftovers([file.parent])
            known = _read(file)  # again: another process may have extracted them meanwhile
            lacking = _lacking(known, subjects, extractors)
            if lacking:
                rows = rows_in(cache, external)
                _extract(cache, rows, spacing_mm, lacking, extractors, known, progress)
                _write(file, known, {row.sha256 for row in rows})
    tables = {
        extractor.name: np.stack([known[_key(extractor)][subject.sha256] for subject in subjects])
        for extractor in extractors
    }
    return VolumeFeatures(tables, subjects)


# By kind and version, then by the voxels' sha256.
_Known = dict[str, dict[str, Float32Array]]


def _key(extractor: Extractor) -> str:
    return f"{extractor.name}-{extractor.version}"


def _lacking(
    known: _Known, subjects: Sequence[Subject], extractors: Sequence[Extractor]
) -> list[Subject]:
    """One subject for each volume of which some kind of feature is not known."""
    volumes = {subject.sha256: subject for subject in subjects}
    tables = [known.get(_key(extractor), {}) for extractor in extractors]
    return [
        subject
        for sha256, subject in volumes.items()
        if any(sha256 not in table for table in tables)
    ]


def _extract(
    cache: Path,
    rows: Sequence[IndexRow],
    spacing_mm: float,
    subjects: Sequence[Subject],
    extractors: Sequence[Extractor],
    known: _Known,
    progress: Progress,
) -> None:
    """Add the features of `subjects` to `known`."""
    places = {row.subject_id: (str(row.folder), row.shard, row.row) for row in rows}
    volumes, shard = Volumes(cache, rows), ("", "")
    # Shard by shard, as they lie on the disk, with one of them mapped at a time.
    for subject in progress(sorted(subjects, key=lambda one: places[one.subject_id])):
        if places[subject.subject_id][:2] != shard:
            volumes, shard = Volumes(cache, rows), places[subject.subject_id][:2]
        volumes.verify(subject.subject_id)
        volume_CDHW = volumes[subject.subject_id].astype(np.float32)
        for extractor in extractors:
            table = known.setdefault(_key(extractor), {})
            if subject.sha256 not in table:
                row = extractor.extract(volume_CDHW, spacing_mm)
                table[subject.sha256] = np.asarray(row, np.float32)


def _read(file: Path) -> _Known:
    """What the file holds; nothing where it is missing or damaged."""
    try:
        # Opened here: of a file that is no archive NumPy forgets to close its own.
        with open_regular(file) as stream, np.load(stream, allow_pickle=False) as arrays:
            kinds = [name for name in arrays.files if f"{name}.sha256" in arrays.files]
            return {
                kind: dict(zip(arrays[f"{kind}.sha256"].tolist(), arrays[kind], strict=True))
                for kind in kinds
            }
    except UNREADABLE:
        return {}  # it is written anew


def _write(file: Path, known: _Known, current: set[str]) -> None:
    """Keep the rows of the volumes that the cache now has."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for kind, table in known.items():
        kept = sorted(sha256 for sha256 in table if sha256 in current)
        if kept:
            arrays[kind] = np.stack([table[sha256] for sha256 in kept])
            arrays[f"{kind}.sha256"] = np.array(kept)
    with replacing(file) as temporary, temporary.open("wb") as out:
        np.savez(out, **arrays)  # type: ignore[arg-type]
