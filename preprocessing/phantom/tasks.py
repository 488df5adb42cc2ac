"""One subject's share of the work: which files to write, and writing them."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

from preprocessing.phantom.atlas import load_atlas
from preprocessing.phantom.config import PhantomConfig
from preprocessing.phantom.contrasts import CONTRASTS, Contrast
from preprocessing.phantom.image import draw_person, scan_person
from preprocessing.phantom.layout import Layout
from preprocessing.phantom.movement import Movement, draw_movement
from preprocessing.phantom.plan import Subject
from stfmri.study.files import replacing

MASKS_FOLDER = "masks"


@dataclass(frozen=True)
class Scan:
    """One contrast of one subject, by name, and the files to write."""

    contrast: str
    movement: Movement | None
    image_path: Path
    mask_path: Path | None

    def is_done(self) -> bool:
        """Tell whether its files are there; each was renamed into place whole."""
        return self.image_path.is_file() and (self.mask_path is None or self.mask_path.is_file())


@dataclass(frozen=True)
class Task:
    """Everything one process needs to write one subject."""

    subject: Subject
    config: PhantomConfig
    layout: Layout
    seed: int
    scans: tuple[Scan, ...]

    def is_done(self) -> bool:
        """Tell whether the files of all its contrasts are there."""
        return all(scan.is_done() for scan in self.scans)


def plan_scans(
    subject: Subject,
    contrasts: tuple[Contrast, ...],
    out: Path,
    layout: Layout,
    seed: int,
    misalign: float,
    masks: bool,
) -> tuple[Scan, ...]:
    """List what one subject is scanned with; only the first scan is sure to be unmoved."""
    scans = []
    for number, contrast in enumerate(contrasts):
        movement = None
        if misalign and number > 0:
            rng = subject.rng(seed, f"movement {contrast.name}")
            movement = draw_movement(rng, layout, contrast, misalign)
        path = out / subject.file(contrast)
        mask_path = out / MASKS_FOLDER / path.name if masks else None
        scans.append(Scan(contrast.name, movement, path, mask_path))
    return tuple(scans)


def write(task: Task) -> None:
    """Draw one subject and write the files of each contrast that lacks one."""
    atlas = load_atlas(1 if min(task.layout.spacing_mm) <= 2 else 2)
    person = draw_person(task.subject, task.config, atlas, task.layout, task.seed)
    for planned in task.scans:
        if planned.is_done():
            continue
        phantom = scan_person(
            person, CONTRASTS[planned.contrast], task.config, atlas, task.seed, planned.movement
        )
        files = [(planned.mask_path, phantom.mask), (planned.image_path, phantom.image)]
        for path, image in files:
            if path is not None:
                with replacing(path) as temporary:
                    # Without a time stamp, equal voxels make equal bytes.
                    temporary.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))
