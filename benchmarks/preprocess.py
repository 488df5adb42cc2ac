"""Preprocessing without brain extraction, against the same steps composed in TorchIO and MONAI.

Every chain reads a scan of BraTS's size and its brain mask from `.nii.gz`, scales the 0.5–99.5
percentiles of the brain to [0, 1], zeroes what is outside, resamples to 2 mm on 120 × 120 × 78
voxels around the brain, and stores float16. Ours, as it is by default, also anchors the grid to the
brain, smooths before the coarser grid and keeps the brain's edge bright. The peers are given our
grid; what they make is compared with ours without the low-pass, inside the brain.

Four contrasts of a subject are taken against one. On two cores, the build's own worker (quality
record and picture included) runs in one process and in two; their memory is read at their end.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchio as tio
from common import (
    Row,
    alternate,
    new_parser,
    paired_ratio,
    present,
    publish,
    said_on_stderr,
    seconds_text,
)
from numpy.typing import NDArray
from scans import TOY_SHAPE, find_scans, write_mask
from scipy import ndimage

from preprocessing import child
from preprocessing.chain import Chain, Processed, process, read
from preprocessing.cohorts import SCAN, Scan
from preprocessing.worker import Worker, one_thread
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig, PreprocessingConfig

PACKAGES = ("torchio", "monai", "nibabel", "numpy", "SimpleITK")
SAME_MARK = 1e-3  # of an intensity in [0, 1]: float16 has steps of half that near 1
TWO_MARK, MEMORY_MARK = 1.8, 1.5e9
LINEAR_MARK = 1.1  # seconds of four contrasts by those of one, a contrast
CONTRASTS = ("one", "two", "three", "four")
Steps = Callable[[Path, Path], NDArray[np.float16]]
Grids = dict[Path, NDArray[np.float64]]  # scan → affine of our volume of it


def subject(scan: Path, mask: Path, contrasts: Sequence[str] = (SCAN,)) -> Scan:
    """A stripped subject whose contrasts are all the same file."""
    paths = dict.fromkeys(contrasts, scan)
    return Scan(scan.name, scan.name, "", "", paths, mask, stripped=True)


def made(chain: Chain, scan: Path, mask: Path) -> Processed:
    """What the chain of this project makes of a scan for each of its contrasts."""
    return process(read(subject(scan, mask, chain.contrasts), chain), chain, Path())


def ours(chain: Chain, scan: Path, mask: Path) -> NDArray[np.float16]:
    """The chain of this project."""
    return made(chain, scan, mask).volume_CDHW


def torchio_chain(preprocessing: PreprocessingConfig, grids: Grids) -> Steps:
    """The steps as TorchIO's documentation composes them, on the whole scan."""

    def run(scan: Path, mask: Path) -> NDArray[np.float16]:
        compose = tio.Compose(
            [
                tio.ToCanonical(),
                tio.RescaleIntensity(
                    out_min_max=(0, 1),
                    percentiles=preprocessing.percentiles,
                    masking_method="brain",
                ),
                tio.Mask("brain"),
                tio.Resample(
                    (preprocessing.shape[::-1], grids[scan]), label_interpolation="linear"
                ),
                tio.Lambda(lambda mask: (mask > 0.499).float(), types_to_apply=[tio.LABEL]),
                tio.Mask("brain"),
            ]
        )
        found = compose(tio.Subject(scan=tio.ScalarImage(scan), brain=tio.LabelMap(mask)))
        return stored(found.scan.numpy()[0])

    return run


def monai_chain(preprocessing: PreprocessingConfig) -> Steps:
    """The steps as MONAI's documentation composes them, on a grid of its own choice.

    Its percentile scaling knows no mask, so that step is a Lambda.
    """
    from monai import transforms as mt

    def scale(values: dict[str, Any]) -> dict[str, Any]:
        scan, brain = values["scan"], values["brain"] > 0.5
        low, high = np.percentile(scan[brain].numpy(), preprocessing.percentiles)
        return values | {"scan": ((scan - low) / (high - low)).clamp(0, 1) * brain}

    def binarise(values: dict[str, Any]) -> dict[str, Any]:
        brain = values["brain"] > 0.499
        return values | {"scan": values["scan"] * brain, "brain": brain.float()}

    both = ["scan", "brain"]
    compose = mt.Compose(
        [
            mt.LoadImaged(keys=both),
            mt.EnsureChannelFirstd(keys=both),
            mt.Orientationd(keys=both, axcodes="RAS", labels=None),
            mt.Lambda(scale),
            mt.Spacingd(
                keys=both,
                pixdim=(preprocessing.spacing_mm,) * 3,
                mode="bilinear",
                padding_mode="zeros",
                dtype=np.float32,
            ),
            mt.Lambda(binarise),
            mt.CropForegroundd(keys=both, source_key="brain", allow_smaller=True),
            mt.ResizeWithPadOrCropd(keys=both, spatial_size=preprocessing.shape[::-1]),
        ]
    )

    def run(scan: Path, mask: Path) -> NDArray[np.float16]:
        return stored(compose({"scan": scan, "brain": mask})["scan"][0].numpy())

    return run


def stored(volume_WHD: NDArray[np.float32]) -> NDArray[np.float16]:
    """As the cache holds it: (1, D, H, W)."""
    return np.ascontiguousarray(volume_WHD.transpose(2, 1, 0)[None], dtype=np.float16)


def one_core(
    chains: dict[str, Steps], scans: Sequence[Path], masks: Sequence[Path], rounds: int
) -> list[Row]:
    """Volumes a second of each chain on one thread."""

    def all_scans(steps: Steps) -> None:
        for scan, mask in zip(scans, masks, strict=True):
            steps(scan, mask)

    taken = alternate({name: partial(all_scans, run) for name, run in chains.items()}, rounds)
    own = taken.pop("ours")
    ratios = {name: paired_ratio(theirs, own) for name, theirs in taken.items()}
    better = min(ratios, key=lambda name: ratios[name])
    return [
        Row(
            f"one core; peer {name}",
            rate(own, len(scans)),
            rate(taken[name], len(scans)),
            f"{ratio:.2f}×",
            "≥ 1×" if name == better else "",
            ratio >= 1 if name == better else None,
        )
        for name, ratio in ratios.items()
    ]


def same_voxels(chain: Chain, peer: Steps, scans: Sequence[Path], masks: Sequence[Path]) -> Row:
    """How far our voxels are from a peer's on the same grid, two voxels within the brain."""
    plain = replace(chain, preprocessing=replace(chain.preprocessing, antialias=False))
    apart = 0.0
    for scan, mask in zip(scans, masks, strict=True):
        own, theirs = (
            volume[0].astype(np.float32) for volume in (ours(plain, scan, mask), peer(scan, mask))
        )
        inner = ndimage.binary_erosion(theirs > 0, iterations=2)
        apart = max(apart, float(np.abs(own - theirs)[inner].max()))
    return Row(
        "largest difference of a voxel; peer TorchIO",
        f"{apart:.1e}",
        mark=f"≤ {SAME_MARK:g}",
        met=apart <= SAME_MARK,
    )


def four_contrasts(chain: Chain, scan: Path, mask: Path, rounds: int) -> Row:
    """Seconds of four contrasts on one grid against those of one."""
    several = replace(chain, contrasts=CONTRASTS)
    calls = {
        "one": partial(made, chain, scan, mask),
        "four": partial(made, several, scan, mask),
    }
    taken = alternate(calls, rounds)
    ratio = paired_ratio(taken["four"], taken["one"]) / len(CONTRASTS)
    return Row(
        "four contrasts, a contrast; peer one contrast",
        seconds_text(statistics.median(taken["four"]) / len(CONTRASTS)),
        seconds_text(statistics.median(taken["one"])),
        f"{ratio:.2f}×",
        f"≤ {LINEAR_MARK}×",
        ratio <= LINEAR_MARK,
    )


def rate(seconds: Sequence[float], volumes: int) -> str:
    """Volumes a second, and seconds a volume."""
    each = statistics.median(seconds) / volumes
    return f"{1 / each:.2f}/s ({seconds_text(each)})"


def build_in_worker(worker: Worker, scan: Scan) -> float:
    """Take a scan through the build's worker; its process's peak memory so far, in bytes."""
    outcome = worker(scan)
    if outcome.reason:
        raise RuntimeError(f"{scan.subject_id} was rejected: {outcome.reason}")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def two_cores(worker: Worker, scans: Sequence[Scan], rounds: int) -> list[Row]:
    """One worker process against two, once both have started; and their memory."""
    context = get_context("spawn")
    pools = {
        jobs: ProcessPoolExecutor(
            jobs, mp_context=context, initializer=child.start, initargs=(os.getpid(),)
        )
        for jobs in (1, 2)
    }
    peaks: list[float] = []

    def run(jobs: int) -> None:
        peaks.extend(pools[jobs].map(partial(build_in_worker, worker), scans))

    taken = alternate({str(jobs): partial(run, jobs) for jobs in pools}, rounds)
    for pool in pools.values():
        pool.shutdown()
    ratio = paired_ratio(taken["1"], taken["2"])
    return [
        Row(
            "two build workers; peer one",
            rate(taken["2"], len(scans)),
            rate(taken["1"], len(scans)),
            f"{ratio:.2f}×",
            f"≥ {TWO_MARK}×",
            ratio >= TWO_MARK,
        ),
        Row(
            "peak memory of a worker",
            f"{max(peaks) / 1e9:.2f} GB",
            mark=f"≤ {MEMORY_MARK / 1e9:g} GB",
            met=max(peaks) <= MEMORY_MARK,
        ),
    ]


def main() -> int:
    """Print the table; 1 where a mark is missed."""
    parser = new_parser(
        __doc__ or "", "Reads the gliomas of STFMRI_TEST_DATA where it is set, else random scans."
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default 5)")
    parser.add_argument("--volumes", type=int, default=12, help="a turn on two cores (default 12)")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    preprocessing = PreprocessingConfig()
    if options.quick:
        right, anterior, superior = (4.0 * count for count in TOY_SHAPE)
        preprocessing = replace(preprocessing, spacing_mm=8, field_mm=(right, anterior, superior))
    one_thread()
    torch.set_num_threads(1)  # for the peers
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans, phrase = find_scans(folder, toy=options.quick)
        masks = [write_mask(scan, folder) for scan in scans]
        config = Config(data=DataConfig(), preprocessing=preprocessing)
        chain = Chain.of(config)
        grids = {
            scan: made(chain, scan, mask).affine for scan, mask in zip(scans, masks, strict=True)
        }
        chains: dict[str, Steps] = {
            "ours": partial(ours, chain),
            "TorchIO": torchio_chain(preprocessing, grids),
        }
        if present("monai"):
            with warnings.catch_warnings():  # of its own imports
                warnings.simplefilter("ignore")
                chains["MONAI"] = monai_chain(preprocessing)
        with said_on_stderr("one core"):
            rows = one_core(chains, scans, masks, rounds)
            rows.append(same_voxels(chain, chains["TorchIO"], scans, masks))
            rows.append(four_contrasts(chain, scans[0], masks[0], rounds))
        count = len(scans) if options.quick else options.volumes
        cohort = [subject(scans[n % len(scans)], masks[n % len(masks)]) for n in range(count)]
        worker = Worker(chain, frozenset(), folder / "cache", folder / "masks")
        with said_on_stderr("two cores"):
            rows += two_cores(worker, cohort, rounds)
    notes = [f"Scans: {phrase}. Brain extraction is measured by benchmarks/brain_extraction.py."]
    return publish("preprocess", rows, quick=options.quick, packages=PACKAGES, notes=notes)


if __name__ == "__main__":
    sys.exit(main())
