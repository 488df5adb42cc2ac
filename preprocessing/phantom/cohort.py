"""A cohort of phantoms in a folder: planned, drawn in several processes, gone on with."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import Progress

from preprocessing.phantom import config as phantom_config
from preprocessing.phantom.atlas import load_atlas
from preprocessing.phantom.config import PhantomConfig
from preprocessing.phantom.image import make_phantom
from preprocessing.phantom.layout import Layout, brats_layout, ixi_layout
from preprocessing.phantom.plan import CLASSES, Subject, plan
from stfmri.study.errors import UserError
from stfmri.study.files import private_dir, replacing, write_atomic

# Raised when the same settings would give other voxels, so that old and new never mix in a folder.
VERSION = 1

SETTINGS_NAME = "phantom.json"
MASKS_FOLDER = "masks"


@dataclass(frozen=True)
class Task:
    """Everything one process needs to write one subject."""

    subject: Subject
    config: PhantomConfig
    layout: Layout
    seed: int
    image_path: Path
    mask_path: Path | None

    def is_done(self) -> bool:
        """Tell whether its files are there; each was renamed into place whole."""
        return self.image_path.is_file() and (self.mask_path is None or self.mask_path.is_file())


def make_cohort(
    out: Path,
    *,
    lgg: int = 30,
    hgg: int = 45,
    healthy: int = 45,
    spacing: float = 2.0,
    full_size: bool = False,
    confounding: float | None = None,
    seed: int | None = None,
    jobs: int = 1,
    masks: bool = False,
    config_path: Path = phantom_config.DEFAULT_PATH,
    show_progress: bool = False,
) -> list[Path]:
    """Write a phantom cohort; files already there from the same settings are kept.

    Args:
        out: Folder to fill; holds `MICCAI_BraTS_2019_Data_Training` and `IXI-T1` afterwards.
        lgg: Number of low-grade gliomas.
        hgg: Number of high-grade gliomas.
        healthy: Number of healthy heads.
        spacing: Voxel size, mm.
        full_size: The real voxel sizes instead: BraTS 1 mm, IXI 0.9375×0.9375×1.2 mm.
        confounding: How much the centre says about the grade, 0 to 1; None as in the file.
        seed: Whole number from which all else follows; None as in the file.
        jobs: Processes; 1 works in this one.
        masks: Also write `masks/<file name>`: 0 outside the brain, 1 brain, 2 oedema, 3 tumour core
            (or low-grade tumour), 4 enhancing rim.
        config_path: YAML file with the ranges.
        show_progress: Draw a progress bar on stderr.

    Returns:
        The paths of all images, LGG first, then HGG, then healthy.

    Raises:
        UserError: if an argument is out of range, or `out` holds a cohort made otherwise.
    """
    config = phantom_config.load(config_path)
    confounding = config.confounding if confounding is None else confounding
    seed = config.seed if seed is None else seed
    counts = {"lgg": lgg, "hgg": hgg, "healthy": healthy}
    _check_arguments(counts, spacing, confounding, seed, jobs)

    subjects = plan(lgg, hgg, healthy, config, confounding, seed)
    settings = {
        "version": VERSION,
        **counts,
        "spacing": None if full_size else float(spacing),
        "full_size": full_size,
        "confounding": float(confounding),
        "seed": seed,
        "config": dataclasses.asdict(config),
    }
    _claim_folder(out, settings)
    layouts = {label: brats_layout(spacing, full_size) for label in CLASSES[:2]}
    layouts["Healthy"] = ixi_layout(spacing, full_size)
    tasks = [
        Task(
            subject=subject,
            config=config,
            layout=layouts[subject.label],
            seed=seed,
            image_path=out / subject.path,
            mask_path=out / MASKS_FOLDER / subject.path.name if masks else None,
        )
        for subject in subjects
    ]
    open_tasks = [task for task in tasks if not task.is_done()]
    with Progress(console=Console(stderr=True), disable=not show_progress) as progress:
        bar = progress.add_task(
            "phantoms", total=len(tasks), completed=len(tasks) - len(open_tasks)
        )
        for _ in _work(open_tasks, jobs):
            progress.advance(bar)
    return [task.image_path for task in tasks]


def _check_arguments(
    counts: dict[str, int], spacing: float, confounding: float, seed: int, jobs: int
) -> None:
    """Raise a UserError for a value that makes no cohort."""
    for name, count in counts.items():
        if count < 0:
            raise UserError(f"--{name} must be 0 or more; found {count}")
    if sum(counts.values()) == 0:
        raise UserError("expected at least one subject; --lgg, --hgg and --healthy are all 0")
    if not 0.5 <= spacing <= 10:
        raise UserError(f"--spacing must be 0.5 to 10 mm; found {spacing}")
    if not 0 <= confounding <= 1:
        raise UserError(f"--confounding must be 0 to 1; found {confounding}")
    if seed < 0:
        raise UserError(f"--seed must be 0 or more; found {seed}")
    if jobs < 1:
        raise UserError(f"--jobs must be 1 or more; found {jobs}")


def _claim_folder(out: Path, settings: dict) -> None:
    """Record the settings in a new folder; refuse one that holds a cohort made otherwise."""
    settings = json.loads(json.dumps(settings))
    record = out / SETTINGS_NAME
    if record.is_file():
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise UserError(f"{record} is not JSON ({error}); remove the folder {out}") from error
        differing = _differing(found, settings)
        if differing:
            raise UserError(
                f"{out} holds a phantom cohort made with other settings ({'; '.join(differing)}); "
                "name another --out, or remove that folder"
            )
        return
    private_dir(out)
    if any(out.iterdir()):
        raise UserError(f"--out {out} holds other files and no {SETTINGS_NAME}; name a new folder")
    write_atomic(record, json.dumps(settings, indent=2) + "\n")


def _differing(found: object, wanted: object, prefix: str = "") -> list[str]:
    """List the settings that differ, as `name: found, not wanted`."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return [
            line
            for name in sorted({*found, *wanted})
            for line in _differing(found.get(name), wanted.get(name), f"{prefix}{name}.")
        ]
    return [] if found == wanted else [f"{prefix.rstrip('.')} is {found} there, {wanted} here"]


def _work(tasks: list[Task], jobs: int) -> Iterator[None]:
    """Write the subjects, here or in `jobs` processes; yield once for each."""
    if jobs == 1 or len(tasks) < 2:
        for task in tasks:
            _write(task)
            yield
        return
    yield from Parallel(n_jobs=min(jobs, len(tasks)), return_as="generator_unordered")(
        delayed(_write)(task) for task in tasks
    )


def _write(task: Task) -> None:
    """Draw one subject and write its files."""
    atlas = load_atlas(1 if min(task.layout.spacing_mm) <= 2 else 2)
    phantom = make_phantom(task.subject, task.config, atlas, task.layout, task.seed)
    files = [(task.mask_path, phantom.mask), (task.image_path, phantom.image)]
    for path, image in files:
        if path is not None:
            with replacing(path) as temporary:
                # Without a time stamp, equal voxels make equal bytes.
                temporary.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))
