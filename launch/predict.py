"""Class probabilities of new scans, from a finished run."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.table import Table

from launch.cli import console, entry_point
from preprocessing.cohorts import Scan
from stfmri.study.errors import UserError
from stfmri.study.files import absolute, write_atomic

if TYPE_CHECKING:
    from rich.console import Console

    from stfmri.learning.models import Trained
    from stfmri.study.config import Config

EPILOG = """\
examples:
  python launch/predict.py --run runs/full/mc3_18-kinetics/fold0 head.nii.gz
  python launch/predict.py --run runs/full/mc3_18-kinetics/fold0 --stripped a.nii.gz b.nii.gz
  python launch/predict.py --run runs/ixi_age/r3d_18-scratch/fold1 --mask brain.nii.gz head.nii.gz
  python launch/predict.py --run runs/two/mc3_18-scratch/fold0 t1ce=a1.nii.gz flair=a2.nii.gz \\
      t1ce=b1.nii.gz flair=b2.nii.gz

A run of several contrasts takes a file for each, in any order; a contrast that comes again begins
the next subject.

Each scan is preprocessed exactly as the run's own volumes were. A scan that the run was trained on
is pointed out where its voxels are the same; another scan of a training patient is not recognised.
For research, not for care.

exit status: 0 every scan predicted; 1 some were not; 2 the call was wrong"""


@dataclass(frozen=True)
class Prediction:
    """One subject: either its probabilities, in the order of the classes, or why there are none.

    `scan` is the first of its files, `sha256` that of its voxels, preprocessed.
    """

    scan: Path
    probabilities: tuple[float, ...] = ()
    sha256: str = ""
    reason: str = ""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python launch/predict.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--run",
        type=Path,
        required=True,
        metavar="DIR",
        help="a finished run, runs/<sweep>/<variant>/fold<k>",
    )
    brain = made.add_mutually_exclusive_group()
    brain.add_argument(
        "--stripped", action="store_true", help="the scans are brain-extracted already"
    )
    brain.add_argument("--mask", type=Path, metavar="FILE", help="the brain (> 0) of the one scan")
    made.add_argument("--out", type=Path, metavar="FILE.csv", help="write the table there too")
    made.add_argument("scans", nargs="+", metavar="[contrast=]scan.nii.gz")
    return made


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Load the run, predict scan by scan, print the table."""
    options = parser().parse_intermixed_args(arguments)
    if options.out is not None and not absolute(options.out).parent.is_dir():
        raise UserError(f"--out {options.out}: there is no folder {absolute(options.out).parent}")
    run = absolute(options.run).resolve()
    # Torch takes seconds to import; a mistyped call should not wait for it.
    from stfmri.learning.models import load_trained

    trained = load_trained(run)
    subjects = subjects_of(options.scans, trained.config)
    if options.mask is not None and len(subjects) != 1:
        raise UserError(f"--mask is the brain of one subject, found {len(subjects)} subjects")
    with masks_of(trained.config) as masks:
        results = [
            predict(trained, files, options.mask, options.stripped, masks) for files in subjects
        ]
    out = console()
    table = Table("scan", "prediction", *trained.classes, box=None, pad_edge=False)
    for result in results:
        if result.reason:
            print(f"error: {result.scan}: {result.reason}", file=sys.stderr)
        else:
            table.add_row(*_row(result, trained.classes))
    if table.row_count:
        _print(out, table, trained)
    if options.out is not None:
        write_atomic(absolute(options.out), as_csv(results, trained.classes))
        out.print(f"written: {options.out}", soft_wrap=True)
    if table.row_count:
        for line in already_seen(trained, results):
            print(f"warning: {line}", file=sys.stderr)
    return 1 if any(result.reason for result in results) else 0


def _print(out: Console, table: Table, trained: Trained) -> None:
    out.print(table)
    model, data = trained.config.model, trained.config.data
    spacing_mm = trained.config.preprocessing.spacing_mm
    out.print(
        f"for research only: {model.name} ({model.weights}), trained on {data.name} at "
        f"{spacing_mm:g} mm; scans of another scanner or sequence may mislead it",
        soft_wrap=True,
    )


def already_seen(trained: Trained, results: Sequence[Prediction]) -> list[str]:
    """One line for each scan whose preprocessed voxels are those of a training scan of the run."""
    return [
        f"{result.scan} is a scan that this run was trained on: its probabilities say nothing of "
        "how the network does on new ones"
        for result in results
        if result.sha256 in trained.trained_on
    ]


@contextmanager
def masks_of(config: Config) -> Iterator[Path]:
    """The folder of brain masks that were extracted before; one for now where it has no place."""
    caches = config.cache.parent
    if caches.is_dir():
        yield caches / "masks"
    else:
        with TemporaryDirectory() as folder:
            yield Path(folder)


def subjects_of(words: Sequence[str], config: Config) -> list[dict[str, Path]]:
    """The files of each subject by contrast, in the order of the network's channels.

    Args:
        words: a path each, or `contrast=path` for a run of several contrasts.

    Raises:
        UserError: where a word names none of the run's contrasts, or a subject lacks one: of
            several subjects nobody could tell whose the next file is.
    """
    contrasts = config.data.channels
    if len(contrasts) == 1:
        [only] = contrasts
        return [{only: absolute(word.removeprefix(f"{only}="))} for word in words]
    found: list[dict[str, Path]] = []
    for word in words:
        contrast, equals, path = word.partition("=")
        if not equals or contrast not in contrasts:
            raise UserError(
                f"the run was trained on {', '.join(contrasts)}: expected "
                f"{' '.join(f'{name}=FILE' for name in contrasts)}, found {word}"
            )
        if not found or contrast in found[-1]:
            found.append({})
        found[-1][contrast] = absolute(path)
    lacking = [files for files in found if len(files) < len(contrasts)]
    if lacking and (len(found) > 1 or config.data.missing != "zeros"):
        absent = [name for name in contrasts if name not in lacking[0]]
        raise UserError(
            f"{' '.join(f'{name}={path}' for name, path in lacking[0].items())} lacks "
            f"{', '.join(absent)}: each subject needs {', '.join(contrasts)}"
        )
    return [{name: files[name] for name in contrasts if name in files} for files in found]


def predict(
    trained: Trained, files: dict[str, Path], mask: Path | None, stripped: bool, masks: Path
) -> Prediction:
    """Preprocess one subject and ask the network, in eval mode and single precision.

    Args:
        files: contrast → file.
        mask: a brain mask on the first file's grid, or None.
        stripped: whether everything but the brain is already background.
        masks: folder where extracted brain masks are kept.
    """
    import torch

    from preprocessing.chain import Chain, process, read
    from preprocessing.nifti import ScanError
    from stfmri.learning.models import to_slices_first
    from stfmri.study.shards import voxel_sha256

    scan = next(iter(files.values()))
    chain = Chain.of(trained.config)
    subject = Scan(
        subject_id=scan.name,
        patient_id=scan.name,
        source="",
        label="",
        paths=files,
        mask=None if mask is None else absolute(mask),
        stripped=stripped,
    )
    try:
        volume_CDHW = process(read(subject, chain), chain, masks).volume_CDHW
    except (ScanError, OSError) as error:
        return Prediction(scan, reason=str(error))
    volume_BCTHW = to_slices_first(
        torch.from_numpy(volume_CDHW).float()[None], trained.config.model.slice_axis
    )
    with torch.inference_mode():
        probabilities = trained.network(volume_BCTHW).double().softmax(dim=1)[0]
    return Prediction(scan, tuple(probabilities.tolist()), voxel_sha256(volume_CDHW))


def as_csv(results: Sequence[Prediction], classes: Sequence[str]) -> str:
    """The table as text: scan, prediction, prob_<class> …; of a bad scan only its path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan", "prediction", *(f"prob_{name}" for name in classes), "error"])
    for result in results:
        cells = _row(result, classes) if not result.reason else [str(result.scan)]
        writer.writerow([*cells, *[""] * (len(classes) + 2 - len(cells)), result.reason])
    return text.getvalue()


def _row(result: Prediction, classes: Sequence[str]) -> list[str]:
    likeliest = classes[result.probabilities.index(max(result.probabilities))]
    return [str(result.scan), likeliest, *(f"{value:.4f}" for value in result.probabilities)]


if __name__ == "__main__":
    sys.exit(main())
