"""Submit a sweep: every run that is neither done nor alive. Returns at once on SLURM."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from launch import inputs
from launch.cli import console, entry_point, new_parser, root_of
from launch.cluster import check_queue, collector_is_due, submit_to_slurm, uses_slurm
from launch.freeze import freeze_code
from launch.local import collect_here, train_on_this_machine
from launch.plan import Opened, open_sweep, resume_sweep
from launch.show import caution, show_plan
from launch.states import states_of
from stfmri.study import config as configuration
from stfmri.study import locks
from stfmri.study.compose import groups
from stfmri.study.errors import ConfigError, resumable
from stfmri.study.files import clear_leftovers, private_dir
from stfmri.study.results import are_current
from stfmri.study.runs import Run, Sweep
from stfmri.study.sweep_file import SWEEP_FILE, options_of, write_sweep

EPILOG = """\
examples:
  python launch/submit.py --sweep full data.brats=/data/BraTS data.ixi=/data/IXI --dry-run
  python launch/submit.py --sweep full --name longer train.epochs=100
  python launch/submit.py --resume longer cluster=mysite cluster.train.time_min=600

Options are in conf/: a file is a choice of its folder's group, a key in it is set as
group.key=value, and a sweep of your own is a file in conf/sweep/; launch/new.py writes one.

The same command again, with its overrides or without, submits what has failed or stopped since, and
leaves alone what is done or alive. The first submission freezes the choices in
runs/<name>/sweep.yaml and the code next to it, so that no later edit reaches a waiting run; of
these --resume goes on. Baselines (sweep.baselines) need no GPU. The last job writes
results/<name>/report.html.

exit status: 0 submitted, or trained; 1 in part or not at all; 2 the call was wrong"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = new_parser("submit", __doc__ or "", EPILOG)
    which = made.add_mutually_exclusive_group(required=True)
    choices = ", ".join(groups()["sweep"])
    which.add_argument("--sweep", metavar="CHOICE", help=f"one of {choices}; or as --resume")
    which.add_argument("--resume", metavar="NAME", help="go on with runs/NAME as it was submitted")
    made.add_argument("--name", help="of its folders in runs/ and results/ (default: the choice's)")
    made.add_argument("--dry-run", action="store_true", help="show the plan and write nothing")
    made.add_argument("overrides", nargs="*", metavar="key=value", help="or group=choice")
    return made


@entry_point
@resumable
def main(arguments: Sequence[str] | None = None) -> int:
    """Compose the sweep, plan its runs, and submit those that need it."""
    options = parser().parse_intermixed_args(arguments)
    out = console()
    opened = opened_by(options)
    sweep, cluster = opened.sweep, opened.cluster
    on_slurm = uses_slurm(cluster)
    here = [] if on_slurm else inputs.lacking_here(sweep, cluster)
    if options.dry_run:
        lacking = [*inputs.missing(sweep), *here, *inputs.to_fetch(sweep)]
        show_plan(out, opened, states_of(sweep), on_slurm=on_slurm)
        caution(out, [*inputs.notes(sweep), *(f"before submitting: {line}" for line in lacking)])
        out.print("dry run: nothing was written or submitted")
        return 0
    if not all(run.is_done() for run in sweep.all_runs):
        inputs.check(sweep, here)
    with locks.lock(sweep.folder):  # nobody else submits the same runs meanwhile
        clear_leftovers([sweep.folder])
        opened = opened_by(options)  # again: somebody else may have submitted it just before
        sweep, states = opened.sweep, states_of(opened.sweep)
        to_do = [run for state in states for run in state.tasks]
        if on_slurm:
            check_queue(sweep, states)
        show_plan(out, opened, states, on_slurm=on_slurm)
        caution(out, inputs.notes(sweep))
        if not to_do and (not collector_is_due(sweep) if on_slurm else are_current(sweep)):
            named = options_of(sweep.name, Path(sweep.config.root))
            report = sweep.config.results_folder / "report.html"
            next_ = report if are_current(sweep) else f"python launch/status.py {named}"
            out.print(f"nothing to submit; {next_}", soft_wrap=True)
            return 0
        code = prepare(sweep, to_do)
        if on_slurm:
            submit_to_slurm(out, sweep, to_do, cluster, code)
            return 0
        if to_do:
            train_on_this_machine(out, sweep, to_do, cluster, code)
    return collect_here(sweep, code)


def opened_by(options: argparse.Namespace) -> Opened:
    """The sweep that the command line means."""
    root, typed = root_of(options), options.overrides
    if options.resume is None:
        return open_sweep(options.sweep, options.name, root, typed)
    if options.name is not None:
        raise ConfigError("--name makes another sweep, and needs --sweep; leave it out of --resume")
    return resume_sweep(options.resume, root, typed)


def prepare(sweep: Sweep, runs: list[Run]) -> Path:
    """Write what jobs will read and was not there; returns the frozen code, their folder."""
    # A run that chooses finds its candidates' configurations, whoever trains them.
    choosing = [run for run in runs if not run.baseline and not run.candidate]
    networks = [one for run in choosing for one in (*sweep.inner_runs(run), run)]
    sweep = inputs.with_splits(sweep)
    complete = inputs.prepare(sweep, networks)
    if not (sweep.folder / SWEEP_FILE).exists():
        write_sweep(sweep)
    for run in networks:
        if not run.config_file.exists():
            private_dir(run.folder)
            configuration.save(complete[run.name], run.config_file)
    return freeze_code(sweep.folder)


if __name__ == "__main__":
    sys.exit(main())
