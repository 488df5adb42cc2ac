"""What this machine or cluster lacks, and the fix."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from rich.table import Table
from rich.text import Text

from launch.cli import console, entry_point, new_parser, root_of
from launch.doctor_gpus import gpu_checks
from launch.finding import FAIL, OK, WARN, Finding
from preprocessing.extraction import EXTRACTORS
from slurm.errors import ClusterError
from slurm.queue import NO_CLUSTER, alive, has_slurm, max_array_size
from stfmri.learning import weights
from stfmri.study.compose import compose, compose_choice
from stfmri.study.files import sha256_of
from stfmri.study.networks import lacking, networks
from stfmri.study.ready_weights import READY_WEIGHTS

STYLES = {OK: "green", WARN: "yellow", FAIL: "red"}
EPILOG = """\
Run it on the login node, and once on a compute node: srun --gres=gpu:1 python launch/doctor.py

Whether a run's pipeline learns at all: python -m stfmri.check --help

ok: as it should be; warn: works, but slower or with less; fail: in the way of a run.

exit status: 0 nothing fails; 1 something does; 2 the call was wrong"""

LEAST_PYTHON = (3, 11)
LEAST_MEMORY_GB = 8.0  # a 2 mm cohort is 1.3 GB, and preprocessing holds some heads at a time
LEAST_DISK_GB = 10.0  # a 2 mm cohort, its masks, and the checkpoints of 18 runs
LEAST_INODES = 20_000
LONGEST_SWEEP = 100  # an array that should fit in one job
CLIENT_TIMEOUT_S = 30


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Run every check and print one line each."""
    options = new_parser("doctor", __doc__ or "", EPILOG).parse_args(arguments)
    root = root_of(options)
    table = Table("", "check", "found", "what to do", box=None, pad_edge=False)
    worst = OK
    for finding in (*machine_checks(), *cluster_checks(), *data_checks(root)):
        status = Text(finding.status, style=STYLES[finding.status])
        table.add_row(status, finding.what, finding.found, finding.fix)
        worst = max(worst, finding.status, key=(OK, WARN, FAIL).index)
    out = console()
    out.print(table)
    out.print(
        {OK: "all well", WARN: "nothing is in the way", FAIL: "see the lines marked fail"}[worst]
    )
    return 1 if worst == FAIL else 0


def machine_checks() -> Iterator[Finding]:
    """Python, packages, GPU, processor, memory, brain extraction."""
    version = platform.python_version()
    if sys.version_info[:2] >= LEAST_PYTHON:
        yield Finding(OK, "Python", version)
    else:
        yield Finding(FAIL, "Python", version, "install Python 3.11 or newer")
    yield from _packages()
    yield from gpu_checks()
    cores, memory = len(os.sched_getaffinity(0)), _memory_gb()
    status = OK if memory >= LEAST_MEMORY_GB else WARN
    fix = "" if status == OK else "preprocess with --jobs 1, and ask SLURM for more memory"
    yield Finding(status, "cores, memory", f"{cores} cores, {memory:.0f} GB", fix)
    for extractor in EXTRACTORS.values():
        fix = extractor.available()
        found = "not here" if fix else "ready"
        yield Finding(OK, f"brains: {extractor.name}", f"{extractor.label}, {found}", fix)
    yield from _networks()


def _networks() -> Iterator[Finding]:
    """Which networks can be built here."""
    for name, about in networks().items():
        fix = lacking(name)
        found = "not here" if fix else "ready"
        yield Finding(OK, f"network: {name}", f"{about.label}, {found}", fix)


def _packages() -> Iterator[Finding]:
    """The floors of pyproject.toml, as they were installed."""
    wanted = [Requirement(line) for line in metadata.requires("stfmri") or ()]
    wanted = [item for item in wanted if item.marker is None or item.marker.evaluate({"extra": ""})]
    lacking = 0
    for item in wanted:
        try:
            found = metadata.version(item.name)
        except metadata.PackageNotFoundError:
            found = "not installed"
        if found == "not installed" or not item.specifier.contains(found, prereleases=True):
            lacking += 1
            yield Finding(FAIL, item.name, found, f"pip install '{item.name}{item.specifier}'")
    if not lacking:
        yield Finding(OK, "packages", f"all {len(wanted)} as new as they must be")


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def cluster_checks() -> Iterator[Finding]:
    """SLURM's clients, its limits, accounting, GPUs to ask for."""
    is_asked = compose([]).cluster.kind == "slurm"  # by conf/config.yaml
    fix = "on a cluster: run this on a login node, or load its SLURM module"
    if not has_slurm():
        found = "no sbatch" if is_asked else "no sbatch: runs are trained on this machine"
        yield Finding(FAIL if is_asked else OK, "SLURM", found, fix)
        return
    try:
        waiting, longest = len(alive()), max_array_size()
    except ClusterError as error:
        if NO_CLUSTER.search(str(error)) and not is_asked:
            found = "sbatch is here, but no cluster is configured"
            yield Finding(WARN, "SLURM", found, f"{fix}; elsewhere submit with cluster=local")
            return
        yield Finding(FAIL, "SLURM", str(error), "ask the cluster's staff, or use cluster=local")
        return
    yield Finding(OK, "SLURM", f"squeue answers; {waiting} jobs of yours are alive")
    if longest > LONGEST_SWEEP:
        yield Finding(OK, "array jobs", f"up to {longest} tasks")
    else:
        yield Finding(WARN, "array jobs", f"up to {longest} tasks", "long sweeps become many jobs")
    if _answer("sacct", "--noheader", "--starttime=now") is None:
        fix = "none needed: runs are followed by squeue and by their own files"
        yield Finding(WARN, "accounting", "sacct does not answer", fix)
    else:
        yield Finding(OK, "accounting", "sacct answers")
    devices = sorted(set((_answer("sinfo", "--noheader", "--format=%G") or "").split()))
    gpus = [item for item in devices if item.startswith("gpu")]
    if gpus:
        yield Finding(OK, "GPUs to ask for", ", ".join(gpus))
    else:
        fix = "train on the CPU with cluster.train.gres=null, or choose another partition"
        yield Finding(WARN, "GPUs to ask for", "sinfo lists none", fix)


def _answer(*command: str) -> str | None:
    """What a SLURM client prints, or None where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def data_checks(root: Path) -> Iterator[Finding]:
    """The root's file system, the weights, the preprocessed cohorts."""
    yield from _file_system(root)
    for name, about in networks().items():
        for source in about.weights:
            yield _weights(name, source, root)
    caches = sorted(path.parent.name for path in root.glob("data/cache/*/index.csv"))
    if caches:
        fix = "does it learn? python -m stfmri.check --help"
        yield Finding(OK, "preprocessed", ", ".join(caches), fix)
    else:
        yield Finding(
            WARN, "preprocessed", f"nothing under {root}", "python -m preprocessing --help"
        )


def _weights(name: str, source: str, root: Path) -> Finding:
    """Whether a network's ready-made weights lie where they are looked for."""
    model = replace(compose_choice("model", name, root=root).model, weights=source)
    path, fetched = weights.place(model, root), bool(READY_WEIGHTS[source].address)
    if not path.is_file() and fetched:
        fix = f"fetched at submission; without internet, put it at {path}"
        return Finding(WARN, f"weights {name}", "not here yet", fix)
    if not path.is_file():
        fix = f"for model.weights={source}: put it at {path}, from {READY_WEIGHTS[source].place}"
        return Finding(OK, f"weights {name}", "not here", fix)
    if fetched and not weights.is_torchvisions(model, sha256_of(path)):
        fix = "fine if it is your own; else delete it, and it is fetched at submission"
        return Finding(WARN, f"weights {name}", f"{path} is not torchvision's", fix)
    return Finding(OK, f"weights {name}", str(path))


def _file_system(root: Path) -> Iterator[Finding]:
    """Whether runs can live under `root`: room, and the operations that they rely on."""
    if not root.is_dir():
        yield Finding(FAIL, "root", f"no folder at {root}", f"mkdir -p {root}")
        return
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=root) as name:
            trial = Path(name, "a")
            trial.touch()
            Path(name, "b").hardlink_to(trial)  # what a run's lock is made with
            trial.replace(Path(name, "c"))
        yield Finding(OK, "root", f"{root} takes files, links and renames")
    except OSError as error:
        fix = "choose another --root: runs need to write, link and rename"
        yield Finding(FAIL, "root", f"{root}: {error.strerror}", fix)
    kind = _file_system_type(root)
    if has_slurm() and kind in ("tmpfs", "overlay"):
        fix = "nodes must see it: choose a --root on the shared file system"
        yield Finding(WARN, "shared", f"{root} is on {kind}, of this machine alone", fix)
    room = os.statvfs(root)
    free_gb = room.f_bavail * room.f_frsize / 2**30
    status = OK if free_gb >= LEAST_DISK_GB else WARN
    fix = "" if status == OK else f"a 2 mm cohort and 18 runs take some {LEAST_DISK_GB:.0f} GB"
    yield Finding(status, "free space", f"{free_gb:.0f} GB", fix)
    if room.f_files and room.f_favail < LEAST_INODES:  # 0: the file system does not count them
        yield Finding(WARN, "free inodes", str(room.f_favail), "delete files, or ask for more")


def _file_system_type(folder: Path) -> str:
    """Of the mount that holds `folder`; "" where it cannot be told."""
    best, kind = -1, ""
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, found, *_ = line.split()
        if folder.is_relative_to(mount) and len(mount) > best:
            best, kind = len(mount), found
    return kind


if __name__ == "__main__":
    sys.exit(main())
