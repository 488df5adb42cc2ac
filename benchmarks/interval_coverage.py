"""Do the intervals cover, and how often is a difference found that is not there?

Simulated studies of known truth: six variants that are equally good, and a baseline as good as
they are, on three classes of 73 : 259 : 259 patients. Each network has a skill, the mean of a
normal distribution; a patient is classified rightly where a normal number of which half the
variance is the patient's own lies below it, and errors fall on the other classes unequally.

designs: 3-splits and 1-split test 30 % of the patients at random, 12-splits 20 %; 5-fold each once

training:
  none    all networks of all variants have the same skill
  own     the skill of each network is drawn, with a standard deviation of 0.2 (of macro F1: some
          0.06 at 0.75)
  shared  the same, and the skills of one variant's networks are correlated by n_test / n, as
          Nadeau & Bengio suppose, because their training sets overlap

Columns: (a) is the interval of these trained networks, (b) that of the training procedure; "today"
is the plain percentile bootstrap over patients. Each cell: coverage, median width. A false
difference is any of the 15 pairs of variants, a false "above" the leader over the baseline.
"Leader" is the interval of the best variant, as it is and corrected for having been chosen.
Found is the part of true differences of 0.083 between one variant and the five others that was
found. Procedures of a single split cannot be compared, so nothing is found there.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import machine, new_parser, said_on_stderr
from simulated_studies import (
    VARIANTS,
    Setting,
    Study,
    all_settings,
    draw_study,
    procedure_truth,
)

from stfmri.evidence import statistics
from stfmri.evidence.metrics import FloatArray, macro_f1

PACKAGES = ("numpy", "scipy")
SELECTION_DRAWS = 200
MARK_A_BELOW_08, MARK_A_ABOVE_095, MARK_B = 0.93, 0.90, 0.90
MARK_FALSE_DIFFERENCE, MARK_FALSE_ABOVE = 0.07, 0.05


@dataclass
class Tally:
    """What the sweeps of a setting showed; means are taken at the end."""

    seen: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, what: str, value: Any) -> None:
        """Keep one more value."""
        self.seen.setdefault(what, []).append(value)

    def mean(self, what: str) -> float:
        """NaN where nothing was kept."""
        return float(np.mean(self.seen[what])) if what in self.seen else nan

    def median(self, what: str) -> float:
        """NaN where nothing was kept."""
        return float(np.median(self.seen[what])) if what in self.seen else nan


def holds(ends: FloatArray, truth: npt.ArrayLike) -> FloatArray:
    """Part of the intervals that hold the truth."""
    return np.mean((ends[0] <= truth) & (truth <= ends[1]))


def apart(family: statistics.Family) -> npt.NDArray[np.bool_]:
    """Which differences of a family were found."""
    return (family.low > 0) | (family.high < 0)


def judge_intervals(study: Study, setting: Setting, truth: float, tally: Tally) -> None:
    """Coverage and width of both intervals, of today's, and of the leader's."""
    variants = slice(VARIANTS)
    scores, draws = study.scores[variants], study.draws[:, variants]
    networks = statistics.networks_interval(scores, draws)
    today = statistics.interval(study.today[:, variants])
    for what, ends in (("a", networks), ("today", today)):
        tally.add(what, holds(ends, study.networks_truth[variants]))
        tally.add(f"{what} width", np.median(ends[1] - ends[0]))
    if setting.folds == 1:
        return
    variance = statistics.procedure_variance(
        study.fold_scores[variants], study.reassigned[:, variants], setting.factor, paired=False
    )
    procedure = statistics.procedure_interval(scores, draws, variance)
    tally.add("b", holds(procedure, truth))
    tally.add("b width", np.median(procedure[1] - procedure[0]))
    tally.add("today b", holds(today, truth))
    # A sweep of one variant has nothing to learn the variance from but its own folds.
    alone = statistics.procedure_variance(
        study.fold_scores[:1], study.reassigned[:, :1], setting.factor, paired=False
    )
    tally.add("alone", holds(statistics.procedure_interval(scores[:1], draws[:, :1], alone), truth))
    selected = statistics.select_best(
        study.counts[variants], macro_f1, resample_folds=True, draws=SELECTION_DRAWS
    )
    tally.add("leader today", holds(today[:, selected.leader], truth))
    tally.add("leader", holds(selected.interval(procedure[:, selected.leader]), truth))
    tally.add("leader bias", selected.score - truth)
    tally.add("corrected bias", selected.corrected - truth)


def judge_comparisons(study: Study, setting: Setting, tally: Tally) -> None:
    """False differences between variants and against the baseline."""
    variants, pairs = slice(VARIANTS), statistics.all_pairs(VARIANTS)
    scores, draws = study.scores[variants], study.draws[:, variants]
    variance = statistics.procedure_variance(
        study.fold_scores[variants], study.reassigned[:, variants], setting.factor, paired=True
    )
    procedures = statistics.procedures_family(scores, draws, variance, pairs)
    freedom = statistics.patients_degrees_of_freedom(study.counts.sum(axis=1))
    networks = statistics.networks_family(scores, draws, pairs, freedom)
    today = statistics.interval(study.today[:, pairs[:, 0]] - study.today[:, pairs[:, 1]])
    found_today = (today[0] > 0) | (today[1] < 0)
    if setting.better:
        first = (pairs == 0).any(axis=1)
        tally.add("found", apart(procedures)[first])
        tally.add("found networks", apart(networks)[first])
        tally.add("found today", found_today[first])
        return
    tally.add("difference", apart(procedures).any())
    tally.add("difference today", found_today.any())
    if setting.training == "none":
        tally.add("difference networks", apart(networks).any())
    variance = statistics.procedure_variance(
        study.fold_scores, study.reassigned, setting.factor, paired=True
    )
    against = statistics.procedures_family(
        study.scores, study.draws, variance, statistics.against(VARIANTS, 1)
    )
    leader = int(study.fold_scores[variants].mean(axis=1).argmax())
    low, _ = statistics.interval(study.today[:, leader] - study.today[:, VARIANTS])
    tally.add("above", (against.low > 0).any())
    tally.add("above today", low > 0)


def simulate(setting: Setting, sweeps: int) -> tuple[float, Tally]:
    """Draw and judge so many sweeps; returns the true macro F1 of the procedure with the tally."""
    # Each setting has random numbers of its own, so that one run alone gives the same line.
    generator = np.random.default_rng(zlib.crc32(setting.name.encode()))
    truth = procedure_truth(setting)
    tally = Tally()
    for _ in range(sweeps):
        study = draw_study(setting, generator)
        if not setting.better:
            judge_intervals(study, setting, truth, tally)
        judge_comparisons(study, setting, tally)
    return truth, tally


def marks(truth: float, tally: Tally) -> dict[str, bool]:
    """Whether each mark that applies to a setting is met."""
    least_a = MARK_A_BELOW_08 if truth < 0.8 else MARK_A_ABOVE_095 if truth > 0.95 else 0.0
    judged: dict[str, Callable[[float], bool]] = {
        "a": lambda value: value >= least_a,
        "b": lambda value: value >= MARK_B,
        "alone": lambda value: value >= MARK_B,
        "difference": lambda value: value <= MARK_FALSE_DIFFERENCE,
        "difference networks": lambda value: value <= MARK_FALSE_DIFFERENCE,
        "above": lambda value: value <= MARK_FALSE_ABOVE,
    }
    return {what: rule(tally.mean(what)) for what, rule in judged.items() if what in tally.seen}


HEADER = (
    "setting",
    "macro F1",
    "(a)",
    "today",
    "(b)",
    "(b), one variant",
    "today for (b)",
    "leader: today, corrected",
    "bias of the leader: as it is, corrected",
    "false difference: (b), (a), today",
    "false above: (b), today",
    "found: (b), (a), today",
    "verdict",
)


def line(setting: Setting, truth: float, tally: Tally, quick: bool) -> list[str]:
    """One row of the table; what misses its mark is bold."""
    met = marks(truth, tally)

    def cell(what: str, form: str = ".3f", width: bool = False) -> str:
        value = tally.mean(what)
        if isnan(value):
            return "–"
        text = f"{value:{form}}"
        text = text if quick or met.get(what, True) else f"**{text}**"
        return f"{text}, {tally.median(f'{what} width'):.3f}" if width else text

    def cells(*names: str, form: str = ".1%") -> str:
        texts = [cell(name, form) for name in names]
        return "" if set(texts) == {"–"} else ", ".join(texts)

    verdict = "not judged" if quick or not met else "met" if all(met.values()) else "**not met**"
    return [
        setting.name,
        f"{truth:.3f}",
        *(cell(what, width=True) for what in ("a", "today", "b")),
        cell("alone"),
        cell("today b"),
        cells("leader today", "leader", form=".3f"),
        cells("leader bias", "corrected bias", form="+.3f"),
        cells("difference", "difference networks", "difference today"),
        cells("above", "above today"),
        cells("found", "found networks", "found today"),
        verdict,
    ]


def table(lines: Sequence[Sequence[str]]) -> str:
    """Markdown, columns lined up."""
    widths = [max(len(row[number]) for row in [HEADER, *lines]) for number in range(len(HEADER))]
    rows = [HEADER, ["-" * width for width in widths], *lines]
    return "\n".join(
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )


def main() -> int:
    settings = {setting.name: setting for setting in all_settings()}
    parser = new_parser(__doc__ or "", (__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--sweeps", type=_positive, default=500, help="simulated sweeps a setting")
    parser.add_argument(
        "--setting", choices=settings, metavar="NAME", help="one only: " + ", ".join(settings)
    )
    arguments = parser.parse_args()
    chosen = [settings[arguments.setting]] if arguments.setting else list(settings.values())
    sweeps = 5 if arguments.quick else arguments.sweeps
    lines, missed = [], False
    for setting in chosen:
        with said_on_stderr(setting.name):
            truth, tally = simulate(setting, sweeps)
        lines.append(line(setting, truth, tally, arguments.quick))
        missed |= not all(marks(truth, tally).values())
    call = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    print(f"## Coverage of intervals and false differences: {sweeps} sweeps a setting\n")
    print(f"`{call}`, {datetime.now(UTC):%Y-%m-%d}: {machine(PACKAGES)}.\n")
    if arguments.quick:
        print("Toy sizes (--quick): no figure below means anything.\n")
    print(table(lines))
    print(
        f"\nMarks: (a) ≥ {MARK_A_BELOW_08} for a true macro F1 below 0.8, ≥ {MARK_A_ABOVE_095} "
        f"above 0.95; (b) ≥ {MARK_B}; false difference ≤ {MARK_FALSE_DIFFERENCE:.0%}; false above "
        f"≤ {MARK_FALSE_ABOVE:.0%}. `--help` explains the columns."
    )
    return 1 if missed and not arguments.quick else 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
