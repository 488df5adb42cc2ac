"""Does the pipeline learn at all? `python -m stfmri.check --config runs/…/config.yaml`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stfmri.study.errors import exit_on_error

EPILOG = """\
Four short trainings inside the run's training part; no test subject is read, nothing is written.
  1. eight volumes are learned by heart, with train=recommended and with the run's own settings
  2. three quarters of the training part (half of it, where patients are few) are learned and the
     rest is predicted, with the true labels and with shuffled ones
The last line says which is likely: bug, recipe (the settings), no signal, or learns.

exit status: 0 it learns; 1 it does not; 2 the call was wrong"""


@exit_on_error
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m stfmri.check`; 0 where the pipeline learns."""
    parser = argparse.ArgumentParser(
        prog="python -m stfmri.check",
        description="Does the pipeline learn at all? Tells a bug, a poor recipe and data without "
        "signal apart.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        help="a run's: runs/<sweep>/<variant>/fold<k>/config.yaml",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=60,
        help="most for each of the four trainings (default 60; more at fine grids)",
    )
    options = parser.parse_args(arguments)
    if options.seconds <= 0:
        parser.error(f"--seconds must be above 0, found {options.seconds:g}")
    # torch is loaded only now, so that --help answers at once.
    from stfmri.learning import device
    from stfmri.learning.acceleration import accelerator_of
    from stfmri.learning.diagnosis import Pipeline, diagnose
    from stfmri.study import config as configuration
    from stfmri.study import splits
    from stfmri.study.compose import compose
    from stfmri.study.shards import Volumes
    from stfmri.study.verify import Verification

    config = configuration.load(options.config)
    device.set_threads(config.train.threads)
    volumes = Volumes(config.cache, splits.rows_of(config))
    Verification(volumes).require()
    pipeline = Pipeline(config, splits.ensure(config), volumes, accelerator_of(config))
    recommended = compose(["train=recommended"]).train
    diagnosis = diagnose(
        pipeline,
        config.train,
        recommended,
        options.seconds,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(diagnosis.verdict)
    return 0 if diagnosis.learns else 1


if __name__ == "__main__":
    sys.exit(main())
