"""Class probabilities of new scans, from finished runs, and what speaks against believing them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from launch.cli import entry_point
from launch.prediction.runs import choose, default_folder
from stfmri.study import selection
from stfmri.study.errors import UserError
from stfmri.study.files import absolute
from stfmri.study.results import REPORT_RECORD
from stfmri.study.words import listed, plural

if TYPE_CHECKING:
    from launch.prediction.examine import Examined
    from preprocessing.cohorts import Scan
    from stfmri.learning.models import Trained

EPILOG = """\
examples:
  python launch/predict.py --run runs/full/mc3_18-kinetics/fold0 head.nii.gz
  python launch/predict.py --run runs/full/mc3_18-kinetics --report answers.html head.nii.gz
  python launch/predict.py --run runs/full --stripped --out answers.csv a.nii.gz b.nii.gz
  python launch/predict.py --run runs/ixi_age/r3d_18-scratch/fold1 --mask brain.nii.gz head.nii.gz
  python launch/predict.py --run runs/full --table other_hospital.csv --out other_hospital
  python launch/predict.py --run runs/two/mc3_18-scratch/fold0 t1ce=a1.nii.gz flair=a2.nii.gz \\
      t1ce=b1.nii.gz flair=b2.nii.gz

--run takes a run, a variant (all of its folds and seeds) or a sweep (the leading variant of its
results); several add up. The answer is the mean of their networks' probabilities, and their range.

A run of several contrasts takes a file for each, in any order; a contrast that comes again begins
the next subject.

Each scan is preprocessed exactly as the runs' own volumes were. Refused is what is no scan of a
brain: label images, masks, heads said to be brain-extracted and brains not said to be. Pointed out
are scans that a network was trained on (another scan of a training patient is not recognised),
brains found in another way than those of the training scans, and scans that lie outside the
training distribution.

--table predicts a labelled cohort (the columns of data=table) as an external test: FOLDER gets
predictions.csv, rejected.csv and report.html, with intervals. For research, not for care.

exit status: 0 every scan predicted; 1 some were not; 2 the call was wrong"""


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
        action="append",
        metavar="DIR",
        help="a finished run, a variant or a sweep; may be given several times",
    )
    brain = made.add_mutually_exclusive_group()
    brain.add_argument(
        "--stripped", action="store_true", help="the scans are brain-extracted already"
    )
    brain.add_argument("--mask", type=Path, metavar="FILE", help="the brain (> 0) of the one scan")
    made.add_argument(
        "--table", type=Path, metavar="CSV", help="a labelled cohort, instead of scans"
    )
    made.add_argument("--label", metavar="COLUMN", help="its class (default: the run's own column)")
    made.add_argument(
        "--out",
        type=Path,
        metavar="FILE.csv",
        help="write the table there too; with --table a folder (default: external-<table>)",
    )
    made.add_argument(
        "--report", type=Path, metavar="FILE.html", help="write a page with every scan and its mask"
    )
    made.add_argument("scans", nargs="*", metavar="[contrast=]scan.nii.gz")
    return made


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Choose the runs, look at each scan, ask every network, tell what it said."""
    options = parser().parse_intermixed_args(arguments)
    _check(options)
    chosen = choose(options.run)
    scans = _scans_named(options, chosen.runs[0])
    if sys.stderr.isatty():
        about = f"the scans of {options.table}" if options.table else listed(options.scans)
        print(f"asking {plural(len(chosen.runs), 'network')} about {about} …", file=sys.stderr)
    # Torch takes seconds to import; a mistyped call should not wait for it.
    from launch.prediction import tell
    from launch.prediction.answers import judge
    from launch.prediction.external import require_new
    from launch.prediction.networks import ask
    from preprocessing.chain import Chain
    from stfmri.learning.models import load_trained

    first = load_trained(chosen.runs[0])
    if options.table is not None:
        scans = _scans_listed(options, first)
        require_new(scans, Chain.of(first.config), chosen.runs)
    found = _examined(scans, first, pictures=options.report is not None)
    refused = tuple(one for one in found if one.reason)
    kept = [one for one in found if not one.reason]
    answers = judge(kept, ask(chosen.runs, first, kept), first) if kept else ()
    told = tell.Told(chosen, first, tuple(answers), refused)
    tell.on_screen(told)
    if options.table is not None:
        tell.as_external_test(told, options.table, options.out)
    elif options.out is not None:
        tell.as_table(told, options.out)
    if options.report is not None:
        tell.as_page(told, options.report)
    return 1 if refused else 0


def _check(options: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is loaded."""
    if (options.table is None) == (not options.scans):
        raise UserError("give scans, or a labelled cohort with --table, and not both")
    if options.table is None and options.label is not None:
        raise UserError("--label is the column of the class in --table; without it leave it out")
    if options.table is not None and options.mask is not None:
        raise UserError("--mask is of one scan; with --table use its column mask")
    written = {"--report": options.report}
    if options.table is None:
        written["--out"] = options.out
    else:
        _require_own_folder(options.out or Path(default_folder(options.table)))
    for flag, path in written.items():
        if path is None:
            continue
        if not absolute(path).parent.is_dir():
            raise UserError(f"{flag} {path}: there is no folder {absolute(path).parent}")
        if absolute(path).exists() and not absolute(path).is_file():
            raise UserError(f"{flag} {path} must be a file; it is a folder, a pipe or a device")


def _require_own_folder(out: Path) -> None:
    """Refuse a folder in which results would take the place of other files of the same names."""
    folder = absolute(out)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {out}: with --table it must be a folder, found a file")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / REPORT_RECORD).is_file():
        raise UserError(f"--out {out} holds other files; name a new folder, or an empty one")


def _scans_named(options: argparse.Namespace, run: Path) -> list[Scan]:
    """The scans of the command line; none with --table.

    Raises:
        UserError: where a file that was named is not there.
    """
    from launch.prediction.subjects import of_words

    data = selection.config_of(run).data
    scans = [] if options.table else of_words(options.scans, data, options.mask, options.stripped)
    named = [path for scan in scans for path in scan.paths.values()]
    named += [absolute(path) for path in (options.table, options.mask) if path is not None]
    if absent := [path for path in named if not path.exists()]:
        raise UserError(f"there is no file {listed(absent)}; correct the path, or leave it out")
    return scans


def _scans_listed(options: argparse.Namespace, first: Trained) -> list[Scan]:
    """The scans of --table."""
    from launch.prediction.subjects import of_table

    return of_table(
        options.table, first.config.data, options.label, first.classes, options.stripped
    )


def _examined(scans: Sequence[Scan], first: Trained, *, pictures: bool) -> list[Examined]:
    """Each scan, preprocessed once for all networks."""
    from launch.prediction.examine import Examiner, masks_of
    from launch.prediction.familiar import TrainingScans
    from preprocessing.brain import require
    from preprocessing.chain import Chain

    require(first.config.preprocessing.skullstrip, scans)
    usual_ml = TrainingScans(first.training_scans).brain_ml
    screen = Console(stderr=True)
    with masks_of(first.config) as masks:
        examine = Examiner(Chain.of(first.config), masks, usual_ml, pictures)
        hidden = not screen.is_terminal
        shown = track(scans, "preprocessing", console=screen, transient=True, disable=hidden)
        return [examine(scan) for scan in shown]


if __name__ == "__main__":
    sys.exit(main())
