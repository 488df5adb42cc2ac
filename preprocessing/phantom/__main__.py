"""A synthetic cohort in the folder layouts of BraTS 2019 and IXI, for trying the whole pipeline.

    python -m preprocessing.phantom --out data/phantom --lgg 30 --hgg 45 --healthy 45 --spacing 2
    python -m preprocessing.phantom --out data/four --contrasts t1 t1ce t2 flair

Brains are warped from the MNI tissue maps that nilearn ships. Tumour patients come skull-stripped,
healthy volunteers with skull and scalp, as in the real data. The same seed and settings give the
same voxels, whatever the number of processes, and a call that was interrupted goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from joblib import cpu_count

from preprocessing.phantom import config as phantom_config
from preprocessing.phantom.cohort import make_cohort
from stfmri.study.errors import exit_on_error, resumable


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m preprocessing.phantom",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="The result is a cohort like any other:\n"
        "    python -m preprocessing data=phantom data.folder=DIR\n"
        "What may vary, and how much, stands in conf/phantom.yaml.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to fill")
    for name, count, what in (
        ("lgg", 30, "low-grade gliomas (no enhancement; default 30)"),
        ("hgg", 45, "high-grade gliomas (ring-enhancing; default 45)"),
        (
            "healthy",
            None,
            "healthy heads, with skull (default 45; 0 where --contrasts has neither t1 nor t2)",
        ),
    ):
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N", help=what)
    parser.add_argument(
        "--contrasts",
        nargs="+",
        default=[],
        metavar="NAME",
        help="what each subject is scanned with: any of t1 t1ce t2 flair, on one grid; healthy "
        "heads have t1 and t2 only, as in IXI (default: t1ce of tumours, t1 of healthy heads)",
    )
    parser.add_argument(
        "--misalign",
        type=float,
        default=0.0,
        metavar="MM",
        help="put every contrast but a subject's first on a grid of its own (t2 and flair in 5 mm "
        "slices) and move the head before it by up to MM mm and MM degrees; the true movements "
        "go to DIR/misalignment.json (default 0)",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--spacing", type=float, default=2.0, metavar="MM", help="voxel size in mm (default 2)"
    )
    size.add_argument(
        "--full-size",
        action="store_true",
        help="the real voxel sizes: BraTS 240×240×155 at 1 mm, IXI 256×256×150 at 0.94×0.94×1.2 mm;"
        " about ten times slower",
    )
    parser.add_argument(
        "--confounding",
        type=float,
        metavar="C",
        help="how much the centre in the case name says about the grade: 0 nothing, 1 as in "
        "BraTS 2019, where it all but gives it away (default: conf/phantom.yaml)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="same seed, same voxels (default: conf/phantom.yaml)"
    )
    parser.add_argument(
        "--jobs", type=int, default=cpu_count(), metavar="N", help="processes (default: all cores)"
    )
    parser.add_argument(
        "--masks",
        action="store_true",
        help="also write the true brain (1) and lesion (2 oedema, 3 core, 4 rim) to DIR/masks",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=phantom_config.DEFAULT_PATH,
        metavar="YAML",
        help="ranges to draw from (default: conf/phantom.yaml)",
    )
    return parser.parse_args(arguments)


@exit_on_error
@resumable
def main(arguments: list[str] | None = None) -> int:
    """Write a cohort from the command line; return the exit status."""
    asked = parse_arguments(arguments)
    paths = make_cohort(
        asked.out,
        lgg=asked.lgg,
        hgg=asked.hgg,
        healthy=asked.healthy,
        contrasts=asked.contrasts,
        misalign=asked.misalign,
        spacing=asked.spacing,
        full_size=asked.full_size,
        confounding=asked.confounding,
        seed=asked.seed,
        jobs=asked.jobs,
        masks=asked.masks,
        config_path=asked.config,
        show_progress=True,
    )
    print(f"{len(paths)} scans of phantoms in {asked.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
