"""Preprocessing without brain extraction, against the same steps composed in TorchIO and MONAI.

Every chain reads a scan of BraTS's size and its brain mask from `.nii.gz`, turns it to canonical
axes, scales the 0.5–99.5 percentiles of the brain to [0, 1], zeroes what is outside, resamples to
2 mm, crops or pads to 120 × 120 × 78 around the brain, and stores float16. The result is compared
with TorchIO's voxel for voxel; MONAI's grid is shifted by a fraction of a voxel.

On two cores, the build's own worker (quality record and picture included) runs in one process and
in two; their memory is read at their end.
"""

from __future__ import annotations

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

from preprocessing.build import resolved
from preprocessing.cohorts import Scan
from preprocessing.transforms import preprocess_volume
from preprocessing.worker import Worker, one_thread, start
from stfmri.study.config import PreprocessingConfig

PACKAGES = ("torchio", "monai", "nibabel", "numpy", "SimpleITK")
SAME_MARK = 1e-3  # of an intensity in [0, 1]: float16 has steps of half that near 1
TWO_MARK, MEMORY_MARK = 1.8, 1.5e9
Chain = Callable[[Path, Path], NDArray[np.float16]]


def ours(
    preprocessing: PreprocessingConfig, masks: Path, scan: Path, mask: Path
) -> NDArray[np.float16]:
    """The chain of this project."""
    return preprocess_volume(scan, mask, False, preprocessing, masks)[0]


def torchio_chain(preprocessing: PreprocessingConfig) -> Chain:
    """The steps as TorchIO's documentation composes them, on the whole scan."""

    def at_least_half(mask_CWHD: torch.Tensor) -> torch.Tensor:
        return (mask_CWHD > 0.499).float()

    compose = tio.Compose(
        [
            tio.ToCanonical(),
            tio.RescaleIntensity(
                out_min_max=(0, 1), percentiles=preprocessing.percentiles, masking_method="brain"
            ),
            tio.Mask("brain"),
            tio.Resample(preprocessing.spacing_mm, label_interpolation="linear"),
            tio.Lambda(at_least_half, types_to_apply=[tio.LABEL]),
            tio.CropOrPad(preprocessing.shape[::-1], mask_name="brain"),
            tio.Mask("brain"),
        ]
    )

    def run(scan: Path, mask: Path) -> NDArray[np.float16]:
        subject = compose(tio.Subject(scan=tio.ScalarImage(scan), brain=tio.LabelMap(mask)))
        return stored(subject.scan.numpy()[0])

    return run


def monai_chain(preprocessing: PreprocessingConfig) -> Chain:
    """The steps as MONAI's documentation composes them.

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
    chains: dict[str, Chain], scans: Sequence[Path], masks: Sequence[Path], rounds: int
) -> list[Row]:
    """Volumes a second of each chain on one thread, and whether results agree."""

    def all_scans(chain: Chain) -> None:
        for scan, mask in zip(scans, masks, strict=True):
            chain(scan, mask)

    taken = alternate({name: partial(all_scans, run) for name, run in chains.items()}, rounds)
    own = taken.pop("ours")
    ratios = {name: paired_ratio(theirs, own) for name, theirs in taken.items()}
    better = min(ratios, key=lambda name: ratios[name])
    rows = [
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
    apart = max(
        float(
            np.abs(
                chains["ours"](scan, mask).astype(np.float32) - chains["TorchIO"](scan, mask)
            ).max()
        )
        for scan, mask in zip(scans, masks, strict=True)
    )
    same = Row(
        "largest difference of a voxel; peer TorchIO",
        f"{apart:.1e}",
        mark=f"≤ {SAME_MARK:g}",
        met=apart <= SAME_MARK,
    )
    return [*rows, same]


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
        jobs: ProcessPoolExecutor(jobs, mp_context=context, initializer=start) for jobs in (1, 2)
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
    preprocessing = resolved(PreprocessingConfig())
    if options.quick:
        right, anterior, superior = (4.0 * count for count in TOY_SHAPE)
        preprocessing = replace(preprocessing, spacing_mm=8, field_mm=(right, anterior, superior))
    one_thread()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans, phrase = find_scans(folder, toy=options.quick)
        masks = [write_mask(scan, folder) for scan in scans]
        chains: dict[str, Chain] = {
            "ours": partial(ours, preprocessing, folder / "masks"),
            "TorchIO": torchio_chain(preprocessing),
        }
        if present("monai"):
            with warnings.catch_warnings():  # of its own imports
                warnings.simplefilter("ignore")
                chains["MONAI"] = monai_chain(preprocessing)
        with said_on_stderr("one core"):
            rows = one_core(chains, scans, masks, rounds)
        count = len(scans) if options.quick else options.volumes
        cohort = [
            Scan(f"s{n}", f"s{n}", "", "", scans[n % len(scans)], masks[n % len(masks)])
            for n in range(count)
        ]
        worker = Worker(preprocessing, frozenset(), folder / "cache", folder / "masks")
        with said_on_stderr("two cores"):
            rows += two_cores(worker, cohort, rounds)
    notes = [f"Scans: {phrase}. Brain extraction is measured by benchmarks/brain_extraction.py."]
    return publish("preprocess", rows, quick=options.quick, packages=PACKAGES, notes=notes)


if __name__ == "__main__":
    sys.exit(main())
