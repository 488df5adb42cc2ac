"""Volumes on their way to the network: read from the cache, and read and augmented.

A scan of BraTS's size (240 × 240 × 155 at 1 mm) reaches the network as 120 × 120 × 78 voxels. A
read of ours ends when the voxels lie in a reused float32 buffer; beside it stands a memory copy of
the bytes as stored. Augmented, ours is what a run does with each volume; the peers are

  (a) the authors' released way: NIfTI, rescale, flip, affine at 1 mm, shrink, in the process;
  (b) TorchIO's SubjectsDataset on volumes of 2 mm, with workers;
  (c) MONAI's PersistentDataset and CacheDataset, with MONAI's own affine and flip.

On a CPU the augmented read is also set beside the fastest of our training steps.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from cohort import config_for, write_cache
from common import (
    Row,
    add_device,
    alternate,
    find_device,
    new_parser,
    paired_ratio,
    present,
    publish,
    said_on_stderr,
    seconds_text,
    synchronise,
)

from stfmri.learning import augment
from stfmri.learning import device as devices
from stfmri.learning.data import epoch_order, open_part
from stfmri.learning.seeds import Use
from stfmri.study.config import Config
from stfmri.study.config.training import AugmentConfig
from stfmri.study.shards import Volumes, read_index

PACKAGES = ("torch", "numpy", "h5py", "torchio", "monai")
READ_MARK, STEP_MARK = 0.5, 0.03
AUTHORS_MARK = {"cpu": 5, "cuda": 50}
BEST_MARK = 5  # times the best of TorchIO and MONAI, on a GPU
FASTEST = "r3d_18"  # our fastest step, with matrix units


def read_rows(config: Config, subject_ids: Sequence[str], rounds: int) -> list[Row]:
    """Reading each volume once a round, beside a memory copy of the same bytes."""
    volumes = Volumes(config.cache, read_index(config.cache))
    held = [torch.from_numpy(np.array(volumes[subject_id])) for subject_id in subject_ids]
    wide = torch.empty(held[0].shape, dtype=torch.float32)
    narrow = torch.empty_like(held[0])

    def read() -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            for subject_id in subject_ids:
                wide.copy_(torch.from_numpy(volumes[subject_id]))

    def copy() -> None:
        for volume in held:
            narrow.copy_(volume)

    taken = alternate({"read": read, "copy": copy}, rounds)
    size = held[0].numel() * held[0].element_size()
    own, theirs = (size * len(held) / statistics.median(taken[key]) for key in ("read", "copy"))
    share = paired_ratio(taken["copy"], taken["read"])
    return [
        Row(
            f"read to float32, {len(held)} volumes of {size / 1e6:.2f} MB; peer (d)",
            f"{own / 1e9:.1f} GB/s",
            f"{theirs / 1e9:.1f} GB/s",
            f"{share:.0%}",
            f"≥ {READ_MARK:.0%}",
            share >= READ_MARK,
        )
    ]


def our_pass(
    config: Config, subject_ids: Sequence[str], device: torch.device
) -> Callable[[], None]:
    """One epoch of augmented network inputs at batch 1, as a run makes them."""
    volumes = Volumes(config.cache, read_index(config.cache))
    share = config.train.resident_share
    part = open_part(
        volumes, subject_ids, [0] * len(subject_ids), device, resident_share=share, workers=2
    )
    choice = AugmentConfig()
    order = epoch_order(len(subject_ids), 1, Use.ORDER, (0, 0, 0))

    def one_pass() -> None:
        for batch in part.batches(order, 0):
            parameters = augment.draw(choice, (0, 0, 0), batch.samples)
            devices.to_layout(augment.apply(batch.volume_BCDHW, parameters))

    return one_pass


def write_2mm(config: Config, subject_ids: Sequence[str], folder: Path) -> list[Path]:
    """The cached volumes as uncompressed NIfTI, which peers read fastest."""
    import nibabel as nib

    volumes = Volumes(config.cache, read_index(config.cache))
    folder.mkdir()
    affine = np.diag([config.preprocessing.spacing_mm] * 3 + [1.0])
    paths = []
    for subject_id in subject_ids:
        values_WHD = volumes[subject_id][0].T.astype(np.float32)
        paths.append(folder / f"{subject_id}.nii")
        nib.save(nib.Nifti1Image(values_WHD, affine), paths[-1])
    return paths


def augmented(
    config: Config,
    subject_ids: Sequence[str],
    folder: Path,
    device: torch.device,
    *,
    rounds: int,
    workers: int,
    toy: bool,
) -> tuple[dict[str, list[float]], str]:
    """Seconds a volume, of ours and of each peer that is installed; and which scans (a) read."""
    passes: dict[str, tuple[Callable[[], object], int]] = {
        "ours": (our_pass(config, subject_ids, device), len(subject_ids))
    }
    phrase = "TorchIO is not installed here"
    if present("torchio"):
        import input_peers
        from scans import find_scans

        scans, phrase = find_scans(folder, toy=toy)
        small = write_2mm(config, subject_ids, folder / "2mm")
        passes["(a) the authors' way"] = (input_peers.authors_way(scans, device), len(scans))
        passes["(b) TorchIO, workers"] = (
            input_peers.torchio_loader(small, workers, device),
            len(small),
        )
        if present("monai"):
            loaders = input_peers.monai_loaders(small, workers, folder / "monai", device)
            passes |= {f"(c) {name}": (run, len(small)) for name, run in loaders.items()}

    def timed(run: Callable[[], object]) -> Callable[[], object]:
        def action() -> None:
            run()
            synchronise(device)

        return action

    taken = alternate({name: timed(run) for name, (run, _) in passes.items()}, rounds)
    return {
        name: [seconds / passes[name][1] for seconds in values] for name, values in taken.items()
    }, phrase


def augmented_rows(taken: dict[str, list[float]], device: torch.device) -> list[Row]:
    """Ours beside each peer; the marks are for (a), and for the best of the others on a GPU."""
    own = taken.pop("ours")
    text = seconds_text(statistics.median(own))
    if not taken:
        return [Row("augmented, a volume", text, "not measured: no peer is installed")]
    ratios = {name: paired_ratio(theirs, own) for name, theirs in taken.items()}
    others = [name for name in ratios if not name.startswith("(a)")]
    best = min(others, key=lambda name: ratios[name])
    rows = []
    for name, ratio in ratios.items():
        mark = AUTHORS_MARK[device.type] if name.startswith("(a)") else None
        if name == best and device.type == "cuda":
            mark = BEST_MARK
        rows.append(
            Row(
                f"augmented, a volume; peer {name}",
                text,
                seconds_text(statistics.median(taken[name])),
                f"{ratio:.1f}×",
                f"≥ {mark}×" if mark else "",
                ratio >= mark if mark else None,
            )
        )
    return rows


def step_row(config: Config, subject_ids: Sequence[str], device: torch.device, rounds: int) -> Row:
    """The augmented read as a share of the step with which it takes turns."""
    from training_steps import OurStep, accelerator_for

    devices.keep_freed_memory()  # as a run does
    run = our_pass(config, subject_ids[:4], device)
    step = OurStep(FASTEST, accelerator_for(device))
    volume = torch.rand(1, 1, *config.preprocessing.shape)
    label = torch.zeros(1, dtype=torch.int64)
    taken = alternate({"input": run, "step": lambda: step(volume, label)}, rounds, warmup=3)
    read = [seconds / 4 for seconds in taken["input"]]
    share = paired_ratio(read, taken["step"])
    return Row(
        f"augmented, a volume; peer: our step of {FASTEST}",
        seconds_text(statistics.median(read)),
        seconds_text(statistics.median(taken["step"])),
        f"{share:.1%}",
        f"≤ {STEP_MARK:.0%}",
        share <= STEP_MARK,
    )


def main() -> int:
    """Print the table; 1 where a mark is missed."""
    parser = new_parser(__doc__ or "", "(a) reads the gliomas of STFMRI_TEST_DATA where it is set.")
    add_device(parser)
    parser.add_argument("--volumes", type=int, default=64, help="in the cache (default 64)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default 5)")
    parser.add_argument("--workers", type=int, default=0, help="of peers (default: one a core)")
    options = parser.parse_args()
    device = find_device(options.device)
    threads = devices.set_threads(0)
    rounds = 2 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = config_for(folder / "root", toy=options.quick)
        subject_ids = write_cache(config, 8 if options.quick else options.volumes)
        with said_on_stderr("read"):
            rows = read_rows(config, subject_ids, 4 * rounds)
        with said_on_stderr("augmented"):
            taken, phrase = augmented(
                config,
                subject_ids,
                folder,
                device,
                rounds=rounds,
                workers=options.workers or threads,
                toy=options.quick,
            )
        rows += augmented_rows(taken, device)
        if device.type == "cpu":
            with said_on_stderr("beside a step"):
                rows.append(step_row(config, subject_ids, device, rounds))
    notes = [f"(a) reads {phrase}; (b) and (c) have {options.workers or threads} workers."]
    return publish(
        "input", rows, quick=options.quick, packages=PACKAGES, device=device, notes=notes
    )


if __name__ == "__main__":
    sys.exit(main())
