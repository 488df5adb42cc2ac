"""Scans to shards: in parallel, picking up where an earlier build stopped, safe to kill.

A cache changes in this order, and each step is a file renamed into place:

1. `masks/<key>.nii.gz`, beside the caches: a brain mask, as soon as it is extracted;
2. `qc/<key>.json`, `.png` and `.js`: a volume's numbers, its picture and what the viewer shows;
3. `shard-….h5`: some volumes with their keys; a shard is never changed;
4. `parts/<part>/record.json`: which key each scan of the part has, or why it has none;
5. by `publish`, once every part is there: rejected.csv, duplicates.csv, qc.csv, qc.html and, last,
   index.csv.

What a kill leaves behind is either complete, and found again by its key, or a temporary file.
Only after the index is out does anything go that it does not name.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from preprocessing import child, qc
from preprocessing.brain import require
from preprocessing.chain import Chain
from preprocessing.cohorts import Scan
from preprocessing.progress import Shown, silent
from preprocessing.store import ShardWriter, stored_volumes
from preprocessing.worker import STEPS, Outcome, Worker, one_thread
from stfmri.study import duplicates
from stfmri.study.config import Config
from stfmri.study.errors import RunHeldError
from stfmri.study.files import private_dir, read_text, safe_name, write_atomic
from stfmri.study.locks import holder, lock
from stfmri.study.rejected import Rejected, read_rejected, write_rejected
from stfmri.study.shards import CacheError, IndexRow, Volumes, missing_column, write_index

LOCAL_PART = "local"


class BuildStoppedError(Exception):
    """A worker process died; what was finished is kept, and the same call goes on from there."""


@dataclass(frozen=True)
class Report:
    """What a build came to. With `unfinished` parts nothing was published."""

    cache: Path
    volumes: int = 0  # rows of the index
    built: int = 0  # of these, made by this build
    rejected: tuple[tuple[str, str], ...] = ()  # subject, reason
    left_out: int = 0  # by data.exclude; in rejected.csv, too
    taken_back: tuple[str, ...] = ()  # left out by the build before, and not by this one
    duplicates: tuple[duplicates.Pair, ...] = ()  # of different patients, almost the same
    unfinished: tuple[str, ...] = ()  # parts without a record
    seconds: dict[str, float] = field(default_factory=dict)  # of all workers, by step


def masks_folder(config: Config) -> Path:
    """Extracted brain masks, shared by every cache under one root, whatever its voxel size."""
    return Path(config.root) / "data" / "cache" / "masks"


def build(config: Config, scans: Sequence[Scan], jobs: int, shown: Shown = silent) -> Report:
    """Build or update the cache of `config` on this machine.

    Args:
        jobs: worker processes.
        shown: draws how far it is.

    Raises:
        RunHeldError: where another build works on the cache.
        BuildStoppedError: where a worker was killed.
        UserError: where brains are to be extracted by what is not there.
    """
    with lock(config.cache):
        _refuse_held_parts(config.cache)
        _build_part(config, scans, LOCAL_PART, jobs, shown)
        return _publish(config, scans, [LOCAL_PART], shown)


def build_part(
    config: Config, scans: Sequence[Scan], part: str, *, jobs: int = 1, shown: Shown = silent
) -> None:
    """Build the volumes of some scans: shards, and the part's record. Publishes no index.

    Several parts of a cache may be built at the same time, each under a name of its own.

    Args:
        scans: the part's scans alone.
        part: a name unique among the parts of the cache.

    Raises:
        RunHeldError: where this part, or the whole cache, is being built by another process.
        BuildStoppedError: where a worker was killed.
    """
    with lock(_part_folder(config.cache, safe_name(part, "part"))):
        _refuse_held(config.cache)
        _build_part(config, scans, part, jobs, shown)


def publish(
    config: Config, scans: Sequence[Scan], parts: Sequence[str], shown: Shown = silent
) -> Report:
    """Merge the parts' records into qc.csv, qc.html, rejected.csv and, last, index.csv.

    A part whose job did not finish has no record. Then nothing is written: an index of half a
    cohort would be split and trained on like a whole one.

    Args:
        scans: all scans of the cohort, in the order of the index.
        parts: the names given to `build_part`, which together cover `scans`.

    Raises:
        RunHeldError: where the cache, or a part of it, is being built by another process.
    """
    with lock(config.cache):
        _refuse_held_parts(config.cache)
        return _publish(config, scans, parts, shown)


def _build_part(config: Config, scans: Sequence[Scan], part: str, jobs: int, shown: Shown) -> None:
    record = _record(config.cache, part)
    record.unlink(missing_ok=True)
    chain = Chain.of(config)
    require(config.preprocessing.skullstrip, scans)
    known = set(stored_volumes(config.cache))
    worker = Worker(chain, frozenset(known), config.cache, masks_folder(config))
    shards = ShardWriter(config.cache, "" if part == LOCAL_PART else f"{part}-", chain)
    seconds = dict.fromkeys(STEPS, 0.0)
    entries, built = [], 0
    for outcome in shown(_outcomes(worker, scans, jobs), len(scans), "volumes"):
        for step, spent in outcome.seconds.items():
            seconds[step] += spent
        if outcome.volume is not None and outcome.key not in known:
            shards.add(outcome)
            known.add(outcome.key)
            built += 1
        entries.append((outcome.scan.subject_id, outcome.key, outcome.reason))
    shards.flush()
    text = {"chain": chain.as_text(), "scans": entries, "built": built, "seconds": seconds}
    private_dir(record.parent)
    write_atomic(record, json.dumps(text, indent=1))


def _publish(config: Config, scans: Sequence[Scan], parts: Sequence[str], shown: Shown) -> Report:
    cache = config.cache
    records = {part: _read_record(config, part) for part in parts}
    entries = {
        subject: (key, reason)
        for record in records.values()
        for subject, key, reason in record.get("scans", ())
    }
    stored = stored_volumes(cache)
    unfinished = [part for part, record in records.items() if not record]
    lost = [scan.subject_id for scan in scans if not _settled(scan, entries, stored)]
    if unfinished or lost:
        return Report(cache, unfinished=tuple(unfinished or lost))
    kept, rejected = [], []
    for scan in scans:
        key, reason = entries[scan.subject_id]
        if reason:
            rejected.append((scan, reason))
        else:
            kept.append((scan, key))
    # Those that are settled have them: see `stored_volumes`.
    measures = [qc.read_measures(cache, key) or {} for _, key in kept]
    rows = [
        _index_row(scan, key, stored[key], numbers["sha256"], config)
        for (scan, key), numbers in zip(kept, measures, strict=True)
    ]
    taken_back = _left_out_before(cache) & {row.subject_id for row in rows}
    write_rejected(
        cache,
        (
            Rejected(scan.subject_id, str(scan.path) if scan.paths else "", reason)
            for scan, reason in rejected
        ),
    )
    pairs: tuple[duplicates.Pair, ...] = ()
    if rows:
        compared = partial(shown, total=len(rows), what="volumes compared")
        pairs = duplicates.find(Volumes(cache, rows), rows, compared)
    duplicates.write(cache, pairs)
    qc.write(config, rows, measures, rejected, pairs)
    write_index(cache, rows)
    _sweep_up(cache, rows)
    return Report(
        cache=cache,
        volumes=len(rows),
        built=sum(record["built"] for record in records.values()),
        rejected=tuple((scan.subject_id, reason) for scan, reason in rejected if not scan.excluded),
        left_out=sum(scan.excluded for scan, _ in rejected),
        taken_back=tuple(sorted(taken_back)),
        duplicates=pairs,
        seconds={step: sum(r["seconds"][step] for r in records.values()) for step in STEPS},
    )


def _left_out_before(cache: Path) -> set[str]:
    """Subjects that the last build was told to leave out."""
    try:
        return {scan.subject_id for scan in read_rejected(cache) or () if scan.left_out}
    except CacheError:  # damaged; it is about to be written again
        return set()


def _index_row(
    scan: Scan, key: str, place: tuple[str, int], sha256: str, config: Config
) -> IndexRow:
    columns = scan.columns
    if config.data.missing == "zeros":
        absent = [name for name in config.data.channels if name not in scan.paths]
        columns = {**columns, **missing_column(absent)}
    return IndexRow(
        subject_id=scan.subject_id,
        patient_id=scan.patient_id,
        source=scan.source,
        shard=place[0],
        row=place[1],
        key=key,
        sha256=sha256,
        columns=columns,
    )


def _outcomes(worker: Worker, scans: Sequence[Scan], jobs: int) -> Iterator[Outcome]:
    """The outcome of each scan, in order, from `jobs` processes.

    Only a few scans are handed out ahead of the one awaited, so that finished volumes do not pile
    up in memory behind a slow one.
    """
    jobs = min(jobs, len(scans))
    if jobs <= 1:
        one_thread()
        yield from map(worker, scans)
        return
    # spawn: a forked child would inherit the locks of torch's and ITK's threads.
    pool = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=child.start, initargs=(os.getpid(),)
    )
    try:
        waiting = deque(pool.submit(worker, scan) for scan in scans[: 3 * jobs])
        for scan in [*scans[3 * jobs :], *[None] * len(waiting)]:
            yield waiting.popleft().result()
            if scan is not None:
                waiting.append(pool.submit(worker, scan))
    except BrokenProcessPool as error:
        raise BuildStoppedError(
            "a worker process was killed, most often for want of memory; the same command with a "
            "smaller --jobs goes on where this one stopped"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _part_folder(cache: Path, part: str) -> Path:
    return cache / "parts" / part


def _record(cache: Path, part: str) -> Path:
    return _part_folder(cache, part) / "record.json"


def _refuse_held(cache: Path) -> None:
    found = holder(cache)
    if found is not None:
        raise RunHeldError(f"{cache} is being built by {found}; wait for it, or end it first")


def _refuse_held_parts(cache: Path) -> None:
    for folder in (cache / "parts").glob("*"):
        _refuse_held(folder)


def _read_record(config: Config, part: str) -> dict[str, Any]:
    """The part's record, empty where there is none or it was made by another chain."""
    try:
        record = json.loads(read_text(_record(config.cache, part)))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    chain = record.get("chain") if isinstance(record, dict) else None
    return record if chain == Chain.of(config).as_text() else {}


def _settled(
    scan: Scan, entries: dict[str, tuple[str, str]], stored: dict[str, tuple[str, int]]
) -> bool:
    """Whether the scan was rejected, or has its volume in a shard."""
    key, reason = entries.get(scan.subject_id, ("", ""))
    return bool(reason) or key in stored


def _sweep_up(cache: Path, rows: Sequence[IndexRow]) -> None:
    """Delete what the published index does not name, and what earlier kills left half written."""
    shards, keys = {row.shard for row in rows}, {row.key for row in rows}
    stale = [path for path in cache.glob("shard-*.h5") if path.name not in shards]
    stale += [path for path in (cache / "qc").glob("*.*") if path.stem not in keys]
    stale += [*cache.glob(".*.tmp"), *(cache / "qc").glob(".*.tmp")]
    for path in stale:
        path.unlink(missing_ok=True)
    # Nobody holds a part now, and each submission has parts of its own: none is read again.
    shutil.rmtree(cache / "parts", ignore_errors=True)
