"""Studies of known truth: patients, splits, networks of a drawn skill, and what they predict."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from stfmri.evidence import statistics
from stfmri.evidence.metrics import FloatArray, macro_f1

VARIANTS = 6
SHARES = np.array([73, 259, 259]) / 591
SIZES = (60, 178, 600)
LEVELS = {"weak": 0.50, "middling": 0.75, "ceiling": 0.98}
# Folds and the part of the patients that each tests.
DESIGNS = {
    "3-splits": (3, 0.3),
    "5-fold": (5, 0.2),
    "12-splits": (12, 0.2),
    "1-split": (1, 0.3),
}
SKILL_SD = 0.2
# How much easier each class is, and how its errors fall on the others (rows true).
EASE = np.array([-0.5, 0.1, 0.0])
ERRORS = np.array([[0.0, 0.6, 0.4], [0.3, 0.0, 0.7], [0.2, 0.8, 0.0]])
DIFFERENCE = 0.083
TRUTH_DRAWS = 4000


@dataclass(frozen=True)
class Setting:
    """A kind of study; `better` adds `DIFFERENCE` to the macro F1 of the first variant."""

    patients: int
    design: str
    level: str
    training: str
    better: bool = False

    @property
    def name(self) -> str:
        """What `--setting` calls it."""
        parts = [str(self.patients), self.design, self.level, self.training]
        return "-".join(parts + ["power"] * self.better)

    @property
    def folds(self) -> int:
        """Their number k."""
        return DESIGNS[self.design][0]

    @property
    def test_share(self) -> float:
        """Part of the patients that a fold tests."""
        return DESIGNS[self.design][1]

    @property
    def factor(self) -> float:
        """Nadeau & Bengio's."""
        return statistics.overlap_factor(self.folds, 1.0 - self.test_share, self.test_share)


def all_settings() -> list[Setting]:
    """The settings of the table."""
    several = [design for design, (folds, _) in DESIGNS.items() if folds > 1]
    settings = []
    for patients in SIZES:
        for level in LEVELS:
            settings += [Setting(patients, design, level, "shared") for design in several]
            settings.append(Setting(patients, "1-split", level, "none"))
        settings += [Setting(patients, design, "middling", "none") for design in several]
        settings.append(Setting(patients, "3-splits", "middling", "own"))
        settings.append(Setting(patients, "3-splits", "ceiling", "none"))
    for patients in SIZES[1:]:
        for design in ("3-splits", "12-splits"):
            settings += [
                Setting(patients, design, "middling", training, better=True)
                for training in ("none", "shared")
            ]
    return settings


def class_sizes(patients: int) -> npt.NDArray[np.intp]:
    """How many patients each class has."""
    sizes = np.round(SHARES * patients).astype(np.intp)
    sizes[1] += patients - sizes.sum()
    return sizes


def draw_split(
    setting: Setting, generator: np.random.Generator
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Classes, shape (P,), and who is tested in which fold, shape (k, P); stratified by class."""
    labels = np.repeat(np.arange(len(SHARES)), class_sizes(setting.patients))
    tested = np.zeros((setting.folds, setting.patients), dtype=bool)
    for label in range(len(SHARES)):
        members = np.flatnonzero(labels == label)
        if setting.design == "5-fold":
            first = generator.integers(setting.folds)
            dealt = (np.arange(len(members)) + first) % setting.folds
            tested[dealt, generator.permutation(members)] = True
            continue
        number = max(1, round(setting.test_share * len(members)))
        for fold in range(setting.folds):
            tested[fold, generator.permutation(members)[:number]] = True
    return labels, tested


def expected_rows(skills: npt.ArrayLike) -> FloatArray:
    """The expected confusion matrix of networks of these skills, rows summing to 1."""
    right = stats.norm.cdf(np.asarray(skills)[..., np.newaxis] + EASE)
    return (1.0 - right)[..., np.newaxis] * ERRORS + right[..., np.newaxis] * np.eye(len(EASE))


def skill_for(score: float) -> float:
    """The skill at which the expected macro F1 is `score`."""
    return float(
        optimize.brentq(
            lambda skill: macro_f1(expected_rows(skill) * SHARES[:, None]) - score, -3.0, 5.0
        )
    )


def draw_skills(setting: Setting, variants: int, generator: np.random.Generator) -> FloatArray:
    """Skills of the networks, shape (variants, k), without the better one's lead."""
    spread = 0.0 if setting.training == "none" else SKILL_SD
    common = setting.test_share if setting.training == "shared" else 0.0
    noise = np.sqrt(common) * generator.standard_normal((variants, 1))
    noise = noise + np.sqrt(1.0 - common) * generator.standard_normal((variants, setting.folds))
    return skill_for_level(setting.level) + spread * noise


@lru_cache
def skill_for_level(level: str) -> float:
    return skill_for(LEVELS[level])


def draw_counts(
    skills: FloatArray,
    labels: npt.NDArray[np.intp],
    tested: npt.NDArray[np.bool_],
    generator: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Predictions as counts of shape (V, k, P, K, K), P being who is tested at all."""
    shape = (len(skills), *tested.shape)
    difficulty = generator.standard_normal(len(labels)) + generator.standard_normal(shape)
    right = difficulty / np.sqrt(2.0) < skills[..., np.newaxis] + EASE[labels]
    cumulated = ERRORS.cumsum(axis=1)[labels]
    wrong = (generator.random(shape)[..., np.newaxis] > cumulated).sum(axis=-1)
    predicted = np.where(right, labels, wrong)
    counts = tested[..., np.newaxis] & (predicted[..., np.newaxis] == np.arange(len(EASE)))
    rows = labels[:, np.newaxis] == np.arange(len(EASE))
    kept = tested.any(axis=0)
    matrices = counts[..., np.newaxis, :] & rows[..., np.newaxis]
    return matrices[:, :, kept].astype(np.float32)


@lru_cache(maxsize=40)
def bayesian_weights(clusters: int) -> npt.NDArray[np.float32]:
    return statistics.cluster_weights(clusters)


@lru_cache(maxsize=40)
def resampled_weights(clusters: int) -> npt.NDArray[np.float32]:
    """Today's draws: patients with replacement."""
    generator = np.random.default_rng(statistics.SEED)
    equal = np.full(clusters, 1.0 / clusters)
    return generator.multinomial(clusters, equal, size=statistics.DRAWS).astype(np.float32)


@dataclass(frozen=True)
class Study:
    """One simulated sweep, with the truth; contestant number `VARIANTS` is the baseline."""

    counts: npt.NDArray[np.float32]
    networks_truth: FloatArray
    scores: FloatArray
    fold_scores: FloatArray
    draws: FloatArray
    today: FloatArray
    reassigned: FloatArray


def draw_study(setting: Setting, generator: np.random.Generator) -> Study:
    """Draw a sweep and compute what every judgement needs."""
    labels, tested = draw_split(setting, generator)
    skills = draw_skills(setting, VARIANTS + 1, generator)
    if setting.better:
        level = LEVELS[setting.level]
        skills[0] += skill_for(level + DIFFERENCE) - skill_for(level)
    counts = draw_counts(skills, labels, tested, generator)
    contributions = counts.sum(axis=1)
    clusters = contributions.shape[1]
    by_cluster = contributions.transpose(1, 0, 2, 3).reshape(clusters, -1)
    resampled = (resampled_weights(clusters) @ by_cluster).reshape(-1, *contributions.shape[::2], 3)
    return Study(
        counts=counts,
        networks_truth=macro_f1((expected_rows(skills) * test_rows(setting)).mean(axis=1)),
        scores=macro_f1(contributions.sum(axis=1)),
        fold_scores=macro_f1(counts.sum(axis=2)),
        draws=macro_f1(statistics.confusion_draws(contributions, bayesian_weights(clusters))),
        today=macro_f1(resampled),
        reassigned=statistics.reassigned_fold_scores(counts, macro_f1),
    )


def test_rows(setting: Setting) -> FloatArray:
    """Patients of each class in a test part, as a column."""
    sizes = class_sizes(setting.patients)
    if setting.design != "5-fold":
        sizes = np.maximum(1, np.round(setting.test_share * sizes).astype(np.intp))
    return sizes[:, np.newaxis].astype(np.float64)


def procedure_truth(setting: Setting) -> float:
    """Expected macro F1 over training."""
    generator = np.random.default_rng(1)
    skills = draw_skills(setting, TRUTH_DRAWS, generator)
    return float(macro_f1((expected_rows(skills) * test_rows(setting)).mean(axis=1)).mean())
