"""Pre-train a network on MRI: `python -m stfmri.pretrain --sweep CHOICE --task … --name NAME`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from stfmri.learning.pretraining.request import Request
from stfmri.learning.pretraining.tasks import TASKS
from stfmri.study import splits
from stfmri.study.config import Config
from stfmri.study.errors import ConfigError, exit_on_error, resumable
from stfmri.study.files import absolute, safe_name
from stfmri.study.words import listed

EPILOG = """\
examples, for a sweep whose label is the age group:
  python -m stfmri.pretrain --sweep ixi_age model=mc3_18 --task supervised --label sex \\
      --name sex --all-folds
  python -m stfmri.pretrain --sweep ixi_age model=mc3_18 --task self --name self --all-folds
  python launch/submit.py --sweep ixi_age --name ixi_age_sex 'sweep.models=[mc3_18]' \\
      'sweep.weights=[scratch,pretrained:sex,pretrained:self]'

Take the --sweep, and the overrides of data, preprocessing, split and model, of the study that the
weights are for. Epochs, learning rate and the rest of train are that study's unless overridden, as
train.epochs=100. The volumes must be there already (python -m preprocessing).

No subject that was pre-trained on may be tested. On the study's own cohort therefore use
--all-folds: within each fold, the fold's training subjects alone are seen, and every run of the
sweep takes its own fold's weights. Without it the whole cohort is seen, for use on another one.

The weights, without the classification head, their card and checkpoints are written to
<root>/data/pretrained/NAME/, of a fold to NAME/fold<k>/. The same command again goes on where it
stopped. Fine-tuning: train.freeze=2 keeps the first two stages as they are, train.layer_decay=0.7
multiplies the learning rate by 0.7 from each stage to the one before it.

exit status: 0 done; 1 stopped, the same command goes on; 2 the call was wrong"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m stfmri.pretrain",
        description="Pre-train a network on MRI, on another label or on none, for a sweep to start "
        "from (sweep.weights=[pretrained:NAME]).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--sweep", metavar="CHOICE", help="of conf/sweep: the study it is for")
    made.add_argument(
        "--task",
        required=True,
        choices=TASKS,
        help="; ".join(f"{task.name}: {task.summary}" for task in TASKS.values()),
    )
    made.add_argument(
        "--label",
        default="",
        metavar="COLUMN",
        help="of the cohort table, or source; numbers, such as ages, are cut into quantile classes",
    )
    made.add_argument(
        "--bins", type=int, default=5, metavar="N", help="how many of these (default 5)"
    )
    made.add_argument("--name", required=True, help="the weights are used as pretrained:NAME")
    which = made.add_mutually_exclusive_group()
    which.add_argument("--fold", type=int, metavar="K", help="see the training part of fold K only")
    which.add_argument(
        "--all-folds", action="store_true", help="as --fold, for each fold of the study"
    )
    made.add_argument(
        "--licence", default="", metavar="TEXT", help="of the data, as the card is to say it"
    )
    made.add_argument(
        "--root",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the folder that holds data/ and runs/ (default: the current one)",
    )
    made.add_argument("overrides", nargs="*", metavar="key=value", help="or group=choice")
    return made


@exit_on_error
@resumable
def main(arguments: Sequence[str] | None = None) -> int:
    """Pre-train what the command line asks for; 0 when it is done."""
    options = parser().parse_intermixed_args(arguments)
    requests = requests_of(options)
    # Torch is loaded only now, so that --help and a wrong call answer at once.
    from stfmri.learning.pretraining.run import pretrain

    config = requests[0].config
    if options.sweep is not None and config.model.name not in config.sweep.models:
        print(
            f"note: --sweep {options.sweep} compares {listed(config.sweep.models)}, which take no "
            f"weights of {config.model.name}",
            flush=True,
        )
    for request in requests:
        pretrain(request)
    return 0


def requests_of(options: argparse.Namespace) -> list[Request]:
    """One request for each fold, or one for the whole cohort.

    Raises:
        UserError: where the options do not fit each other, or the data.
    """
    task = TASKS[options.task]
    if task.needs_label != bool(options.label):
        wanted = (
            "needs --label COLUMN" if task.needs_label else "learns no label; leave --label out"
        )
        raise ConfigError(f"--task {task.name} {wanted}")
    if options.bins < 2:
        raise ConfigError(f"--bins must be at least 2, found {options.bins}")
    safe_name(options.name, "--name")
    config = _composed(options)
    folds = _folds(config, options.fold, options.all_folds)
    return [
        Request(
            config if fold is None else replace(config, split=replace(config.split, fold=fold)),
            options.name,
            task.name,
            options.label,
            options.bins,
            fold,
            options.licence,
        )
        for fold in folds
    ]


def _composed(options: argparse.Namespace) -> Config:
    """The study's configuration, for the one network that is pre-trained."""
    # Hydra takes part of a second to import.
    from stfmri.study.compose import compose, parse_overrides

    root = absolute(options.root).resolve()
    config = compose(options.overrides, sweep=options.sweep, root=root)
    asked = parse_overrides(options.overrides)
    if options.sweep is not None and not any(item.touches("model.name") for item in asked):
        if len(config.sweep.models) > 1:
            raise ConfigError(
                f"--sweep {options.sweep} compares {listed(config.sweep.models)}; weights are of "
                "one network: add model=NAME, and give each its own --name"
            )
        chosen = (*options.overrides, f"model={config.sweep.models[0]}")
        config = compose(chosen, sweep=options.sweep, root=root)
    return config


def _folds(config: Config, fold: int | None, every: bool) -> Iterable[int | None]:
    if fold is None and not every:
        return [None]
    split = splits.resolved(config).split
    known = config.sweep.folds or range(split.folds)
    if fold is not None and fold not in known:
        raise ConfigError(f"--fold must be one of {listed([*known], 20)}, found {fold}")
    return known if every else [fold]


if __name__ == "__main__":
    sys.exit(main())
