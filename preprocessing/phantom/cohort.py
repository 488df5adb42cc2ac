"""A cohort of phantoms in a folder: planned, drawn in several processes, gone on with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import Progress

from preprocessing.phantom import config as phantom_config
from preprocessing.phantom.config import PhantomConfig
from preprocessing.phantom.contrasts import contrasts_of
from preprocessing.phantom.layout import brats_layout, ixi_layout
from preprocessing.phantom.plan import CLASSES, plan
from preprocessing.phantom.tasks import Task, plan_scans, write
from stfmri.study.errors import UserError
from stfmri.study.files import private_dir, write_atomic

# Raised when the same settings would give other voxels, so that old and new never mix in a folder.
VERSION = 1

SETTINGS_NAME = "phantom.json"
MOVEMENTS_NAME = "misalignment.json"


def make_cohort(
    out: Path,
    *,
    lgg: int = 30,
    hgg: int = 45,
    healthy: int | None = None,
    contrasts: Sequence[str] = (),
    misalign: float = 0.0,
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
        healthy: Number of healthy heads; None for 45, or for 0 where no contrast asked for is one
            that IXI has.
        contrasts: What each subject is scanned with, in this order: `t1`, `t1ce`, `t2`, `flair`;
            healthy heads get those that IXI has. None for T1ce of tumours and T1 of healthy heads.
        misalign: Put each contrast but a subject's first on a grid of its own, and move the head
            before it by up to so many mm and degrees; the movements are in `misalignment.json`.
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
        The paths of all images, LGG first, then HGG, then healthy; a subject's contrasts together.

    Raises:
        UserError: if an argument is out of range, or `out` holds a cohort made otherwise.
    """
    config = phantom_config.load(config_path)
    confounding = config.confounding if confounding is None else confounding
    seed = config.seed if seed is None else seed
    wanted = {label: contrasts_of(label, contrasts) for label in CLASSES}
    if healthy is None:
        healthy = 45 if wanted["Healthy"] else 0
    counts = {"lgg": lgg, "hgg": hgg, "healthy": healthy}
    _check_arguments(counts, spacing, confounding, seed, jobs, misalign)
    if misalign and len(contrasts) < 2:
        raise UserError("--misalign moves further contrasts; name two or more with --contrasts")
    if healthy and not wanted["Healthy"]:
        raise UserError(
            f"healthy heads, as those of IXI, have no {' or '.join(contrasts)}; "
            "add t1 or t2 to --contrasts, or leave them out with --healthy 0"
        )

    settings = {
        "version": VERSION,
        **counts,
        "spacing": None if full_size else float(spacing),
        "full_size": full_size,
        "confounding": float(confounding),
        "seed": seed,
        **_contrast_settings(config, contrasts, misalign),
    }
    layouts = {label: brats_layout(spacing, full_size) for label in CLASSES[:2]}
    layouts["Healthy"] = ixi_layout(spacing, full_size)
    tasks = []
    for subject in plan(lgg, hgg, healthy, config, confounding, seed):
        layout = layouts[subject.label]
        scans = plan_scans(subject, wanted[subject.label], out, layout, seed, misalign, masks)
        tasks.append(Task(subject, config, layout, seed, scans))
    _claim_folder(out, settings)
    if misalign:
        _record_movements(out, tasks)
    open_tasks = [task for task in tasks if not task.is_done()]
    with Progress(console=Console(stderr=True), disable=not show_progress) as progress:
        bar = progress.add_task(
            "phantoms", total=len(tasks), completed=len(tasks) - len(open_tasks)
        )
        for _ in _work(open_tasks, jobs):
            progress.advance(bar)
    return [scan.image_path for task in tasks for scan in task.scans]


def _contrast_settings(
    config: PhantomConfig, contrasts: Sequence[str], misalign: float
) -> dict[str, object]:
    """List the settings that depend on whether contrasts were asked for by name.

    Where none were, they are those from before there was a choice, so that such a folder goes on.
    """
    ranges = dataclasses.asdict(config)
    if contrasts:
        return {"contrasts": list(contrasts), "misalign": float(misalign), "config": ranges}
    del ranges["further"]
    return {"config": ranges}


def _record_movements(out: Path, tasks: list[Task]) -> None:
    """Write the matrix of every moved scan: world mm of the subject's first scan to its own."""
    matrices = {
        scan.image_path.relative_to(out).as_posix(): scan.movement.matrix().tolist()
        for task in tasks
        for scan in task.scans
        if scan.movement
    }
    write_atomic(out / MOVEMENTS_NAME, json.dumps(matrices, indent=1) + "\n")


def _check_arguments(
    counts: dict[str, int],
    spacing: float,
    confounding: float,
    seed: int,
    jobs: int,
    misalign: float,
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
    if not 0 <= misalign <= 30:
        raise UserError(f"--misalign must be 0 to 30 mm; found {misalign}")
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
            write(task)
            yield
        return
    yield from Parallel(n_jobs=min(jobs, len(tasks)), return_as="generator_unordered")(
        delayed(write)(task) for task in tasks
    )
