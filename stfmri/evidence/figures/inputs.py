"""What figures are drawn from: plain numbers and predictions, already estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from stfmri.evidence.baselines.record import Baseline
from stfmri.evidence.metrics.record import FloatArray
from stfmri.evidence.predicted import Predicted

# Both ends of an interval.
Ends = tuple[float, float]


class Category(Enum):
    """What a row or a curve stands for, in the words of the legend."""

    NETWORK = "Network"
    IMAGES = "Baseline that sees the images"
    LOOKUP = "Look-up that sees no image"
    CONTROL = "Control that must score chance"

    @staticmethod
    def of(baseline: Baseline) -> Category:
        """The category of a baseline."""
        if baseline.is_control:
            return Category.CONTROL
        return Category.IMAGES if baseline.sees_images else Category.LOOKUP


@dataclass(frozen=True)
class Compared:
    """The predictions of a baseline, and what kind of baseline it is."""

    predicted: Predicted
    category: Category


@dataclass(frozen=True)
class ForestRow:
    """One variant or baseline of the forest plot.

    Attributes:
        label: its name in words.
        category: a network or which kind of baseline.
        value: the metric of its predictions pooled over folds; NaN where undefined.
        fold_values: the metric of each fold.
        networks: 95 % interval for these trained models on new patients.
        procedure: 95 % interval for the training procedure at this number of subjects; None
            where a single fold says nothing of it, or for what was not estimated.
    """

    label: str
    category: Category
    value: float
    fold_values: Sequence[float]
    networks: Ends
    procedure: Ends | None = None


@dataclass(frozen=True)
class ClassRow:
    """Means over folds of one variant or baseline, shape (K classes, M metrics)."""

    label: str
    category: Category
    value_KM: FloatArray


@dataclass(frozen=True)
class ClassScores:
    """Class-wise scores in [0, 1]: the labels of M metrics, and rows, the best variant first."""

    metrics: tuple[str, ...]
    rows: Sequence[ClassRow]


@dataclass(frozen=True)
class TrainedRuns:
    """The training of one variant: of each run what `stfmri.study.history.read` read."""

    label: str
    runs: Sequence[Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Point:
    """A metric with its 95 % interval; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Compound:
    """One of the things that subgroups compare.

    Attributes:
        label: its name in words.
        category: a network or which kind of baseline.
        overall: its metric over all subjects.
    """

    label: str
    category: Category
    overall: float


@dataclass(frozen=True)
class Group:
    """One subgroup: its name, its number of patients, a point for each compared thing."""

    label: str
    n: int
    points: Sequence[Point | None]


@dataclass(frozen=True)
class Subgroups:
    """Scores by subgroup: what is compared, and the groups by the column that makes them."""

    compared: Sequence[Compound]
    columns: Mapping[str, Sequence[Group]]


@dataclass(frozen=True)
class PrecisionPlan:
    """How precise a study of so many patients would be.

    Attributes:
        patients: numbers of patients, rising.
        half_width: half the width of the 95 % interval that is expected with each.
        present_patients, present_half_width: of this study.
    """

    patients: Sequence[float]
    half_width: Sequence[float]
    present_patients: float
    present_half_width: float


@dataclass(frozen=True)
class CurvePoint:
    """A metric after training on so many subjects.

    Attributes:
        subjects: mean number of training subjects of a fold.
        value: the metric of its predictions pooled over folds; NaN where undefined.
        networks, procedure: as of a `ForestRow`.
    """

    subjects: float
    value: float
    networks: Ends
    procedure: Ends | None = None


@dataclass(frozen=True)
class LearningCurve:
    """A variant or baseline that was trained on several parts of the training subjects.

    Attributes:
        label: its name in words, without the part.
        category: a network or which kind of baseline.
        points: by rising numbers of subjects.
    """

    label: str
    category: Category
    points: Sequence[CurvePoint]


@dataclass(frozen=True)
class Drawable:
    """Everything that the figures of a sweep are drawn from; what is left out is not drawn.

    Attributes:
        classes: the K class names.
        metric_label: the metric that the forest and the plan show; subgroups show accuracy.
        metric_limits: its lowest and highest possible value.
        variants: predictions of every variant, the best first.
        baselines: predictions of every baseline, the best first.
        remarks: what to add to the title of a figure, such as where a published study shows the
            same, by the figure's name.
        forest: rows in the order of the figure; baselines are put below the variants.
        learning: curves of networks and of baselines, each the best first.
    """

    classes: tuple[str, ...]
    metric_label: str
    metric_limits: Ends = (0.0, 1.0)
    variants: Sequence[Predicted] = ()
    baselines: Sequence[Compared] = ()
    forest: Sequence[ForestRow] = ()
    class_scores: ClassScores | None = None
    training: Sequence[TrainedRuns] = ()
    subgroups: Subgroups | None = None
    precision: PrecisionPlan | None = None
    learning: Sequence[LearningCurve] = ()
    remarks: Mapping[str, str] = field(default_factory=dict)

    def best_baseline(self, category: Category) -> Predicted | None:
        """The best baseline of a category; None without any."""
        return next((b.predicted for b in self.baselines if b.category is category), None)
