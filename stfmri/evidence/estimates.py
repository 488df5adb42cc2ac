"""What a sweep says: estimates of every variant and baseline, comparisons, and what follows.

Two intervals are given. The first speaks of *these trained networks* on new patients: it varies the
patients only. The second speaks of the *training procedure* at this size of the training part: it
also has the variance between the networks of different folds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from stfmri.evidence import metrics
from stfmri.evidence.collected import Evidence
from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.predicted import Predicted
from stfmri.evidence.statistics import PrecisionPlan
from stfmri.evidence.subgroups import GroupScore, WithinSources

# What the headline, the forest and the comparisons are about.
PRIMARY = metrics.by_name("macro_f1")


@dataclass(frozen=True)
class Estimate:
    """One metric of one variant; NaN where undefined.

    Attributes:
        mean, sd: over the folds (ddof 1).
        pooled: from the predictions of all folds together; of metrics that depend on an order of
            probabilities the mean over folds, since those of two networks cannot be ranked.
        low, high: 95 % interval of `pooled` for these trained networks on new patients.
        procedure_low, procedure_high: 95 % interval for networks trained anew; NaN for one fold,
            and for metrics that none is computed of.
        sd_over_seeds: within folds, over the seeds of a variant; NaN for one seed. All else is of
            the mean over seeds.
    """

    mean: float
    sd: float
    pooled: float
    low: float
    high: float
    procedure_low: float = math.nan
    procedure_high: float = math.nan
    sd_over_seeds: float = math.nan


@dataclass(frozen=True)
class Summary:
    """All estimates of one variant or baseline, and what comparisons are made of.

    Attributes:
        per_class: by class, then by metric.
        overall: by metric.
        fold_scores: the primary metric of each fold, shape (F,).
        drawn_scores: the primary metric, pooled, in each draw of patients, shape (D,).
        drawn_auc: the macro AUC in each draw, shape (D,).
        seed_scores: the primary metric of each seed in each fold, shape (S, F).
    """

    predicted: Predicted
    per_class: Mapping[str, Mapping[str, Estimate]]
    overall: Mapping[str, Estimate]
    fold_scores: FloatArray
    drawn_scores: FloatArray
    drawn_auc: FloatArray
    seed_scores: FloatArray

    @property
    def primary(self) -> Estimate:
        """The estimate that the headline is about."""
        return self.overall[PRIMARY.name]


@dataclass(frozen=True)
class Comparison:
    """The primary metric of `a` minus that of `b`, pooled; NaN where undefined.

    Attributes:
        family: `variants`, or `baselines` where b is one.
        of_procedure: whether interval and p-value include the variance between trainings; else
            they speak of these trained networks.
        low, high, p: simultaneous over the family (max-t).
        networks_low, networks_high: the same for these trained networks on new patients.
        effect: Cohen's h of the shares of right predictions.
        t_test_p: corrected resampled t-test over folds.
        mcnemar_p: McNemar's test, where each patient is tested once.
        auc_difference, auc_p: of the macro AUC, paired by patient.
        …_holm: corrected within the family.
    """

    a: str
    b: str
    family: str
    of_procedure: bool
    difference: float
    low: float
    high: float
    p: float
    networks_low: float
    networks_high: float
    effect: float
    t_test_p: float
    mcnemar_p: float
    auc_difference: float
    auc_p: float
    t_test_p_holm: float = math.nan
    mcnemar_p_holm: float = math.nan
    auc_p_holm: float = math.nan

    @property
    def is_apart(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Selection:
    """The leader's score, corrected for having been chosen on the same test scans.

    Attributes:
        value, low, high: the corrected score with its 95 % interval.
        of_procedure: whether the interval speaks of networks trained anew.
        candidates: variants that it was chosen from.
    """

    value: float
    low: float
    high: float
    of_procedure: bool
    candidates: int


@dataclass(frozen=True)
class ChanceTest:
    """Whether a score is above that of predictions for the wrong patients.

    Attributes:
        mean: mean score of exchanged labels.
        p: one-sided, adjusted for all variants and baselines that are tested.
        widened: by how much the scores of exchanged labels were drawn away from their mean; 1
            where no two patients teach each other's network.
    """

    mean: float
    p: float
    widened: float = 1.0


@dataclass(frozen=True)
class Results:
    """What the sweep says.

    Attributes:
        variants, baselines: estimates, in the order of the evidence.
        comparisons: of both families.
        selection: the leader's score corrected for having been chosen; None for one variant.
        chance: permutation test of each variant and baseline, by name.
        within: the leader's scores within sources; None without a leader.
        subgroups: by label, of the leader and of the best image baseline.
        plan: how many more patients would halve the leader's interval; None without a leader.
    """

    evidence: Evidence
    variants: tuple[Summary, ...]
    baselines: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...] = ()
    selection: Selection | None = None
    chance: Mapping[str, ChanceTest] = field(default_factory=dict)
    within: WithinSources | None = None
    subgroups: Mapping[str, list[GroupScore]] = field(default_factory=dict)
    plan: PrecisionPlan | None = None

    @property
    def everyone(self) -> tuple[Summary, ...]:
        """The variants, then the baselines."""
        return self.variants + self.baselines

    @property
    def has_seeds(self) -> bool:
        """Whether some variant was trained with several seeds."""
        return any(summary.predicted.members for summary in self.variants)

    @cached_property
    def ranked(self) -> list[Summary]:
        """Variants, best first: by number of folds, then by the pooled primary metric.

        Where networks were trained on parts of the training subjects, those of the largest part.
        """
        most = max((one.predicted.train_fraction for one in self.variants), default=1.0)
        return sorted(
            (one for one in self.variants if one.predicted.train_fraction == most),
            key=lambda summary: (
                -len(summary.predicted.folds),
                -np.nan_to_num(summary.primary.pooled, nan=-1.0),
            ),
        )

    @property
    def rivals(self) -> list[Summary]:
        """The baselines that were fitted on as large a part of the training subjects."""
        if self.leader is None:
            return list(self.baselines)
        part = self.leader.predicted.train_fraction
        return [one for one in self.baselines if one.predicted.train_fraction == part]

    @property
    def leader(self) -> Summary | None:
        """The best variant; complete ones go first."""
        return self.ranked[0] if self.ranked else None

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of the subjects, sorted."""
        return tuple(sorted({subject.source for subject in self.evidence.cohort.used}))

    def best_baseline(self, *, sees_images: bool) -> Summary | None:
        """The best baseline of a kind on the leader's folds; controls are none."""
        kinds = self.evidence.kinds
        found = [
            summary
            for summary in self.rivals
            if kinds[summary.predicted.name].sees_images == sees_images
            and not kinds[summary.predicted.name].is_control
            and (self.leader is None or summary.predicted.folds == self.leader.predicted.folds)
        ]
        # Of equals the later one: the registry lists the simplest first.
        return max(reversed(found), key=lambda one: one.primary.pooled, default=None)

    def comparisons_of(self, name: str, family: str, other: str | None = None) -> list[Comparison]:
        """The comparisons of `name` in a family, with `other` alone if that is given."""
        return [
            item
            for item in self.comparisons
            if item.family == family
            and name in (item.a, item.b)
            and (other is None or other in (item.a, item.b))
        ]
