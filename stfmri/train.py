"""Train one run by hand: `python -m stfmri.train --config runs/…/config.yaml`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stfmri.study.errors import exit_on_error, resumable


@exit_on_error
@resumable
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m stfmri.train`; 0 when the run is done."""
    parser = argparse.ArgumentParser(
        prog="python -m stfmri.train",
        description="Train one run by hand, or go on with it from its last checkpoint.",
        epilog="launch/submit.py writes each run's config.yaml when it submits the sweep. On "
        "several GPUs: accelerate launch --multi_gpu --num_processes N -m stfmri.train --config …; "
        "on CPUs: torchrun --nproc_per_node N -m stfmri.train --config …",
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="runs/<sweep>/<variant>/fold<k>/config.yaml"
    )
    parser.add_argument(
        "--side-by-side",
        type=int,
        default=1,
        metavar="N",
        help="how many runs share this GPU and its memory (default 1)",
    )
    options = parser.parse_args(arguments)
    if options.side_by_side < 1:
        parser.error(f"--side-by-side must be at least 1, found {options.side_by_side}")
    # torch is loaded only now, so that --help answers at once.
    from stfmri.learning.choosing import train

    train(options.config, options.side_by_side)
    return 0


if __name__ == "__main__":
    sys.exit(main())
