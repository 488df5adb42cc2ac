"""What a published study is: a record of printed figures, chosen by `reference` and never guessed.

Nothing of it is shown unless the configuration names it and its classes are the cohort's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PrintedScores:
    """What a study prints of one network.

    Attributes:
        class_f1: F1 of each class as (mean, standard deviation) over folds, in [0, 1].
        macro_f1, weighted_f1: over the classes, in [0, 1].
    """

    class_f1: Mapping[str, tuple[float, float]]
    macro_f1: float
    weighted_f1: float


@dataclass(frozen=True)
class PublishedResult:
    """One row of a table of the literature; accuracy in per cent, both as printed."""

    study: str
    method: str
    classes: str
    accuracy: str
    specificity: str = ""


@dataclass(frozen=True)
class Reference:
    """One published study.

    Attributes:
        name: as conf/reference and `reference.name` call it.
        citation: authors, title, journal and year.
        class_counts: scans of each class, in the study's order.
        parameters: trainable parameters by model.
        scores: by model and weights.
        literature: results of other studies that it prints.
        table_of: where the study prints what a table or figure of the report shows, such as
            "Table 1"; by the key of the table or figure, see `place`.
        remarks: sentences for the caption of a table, by the same keys.
    """

    name: str
    citation: str
    class_counts: Mapping[str, int]
    parameters: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[tuple[str, str], PrintedScores] = field(default_factory=dict)
    literature: tuple[PublishedResult, ...] = ()
    table_of: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Its classes, in its order."""
        return tuple(self.class_counts)

    def fits(self, classes: Sequence[str]) -> bool:
        """Whether `classes` are the study's, in any order."""
        return sorted(classes) == sorted(self.class_counts)

    def printed(self, model: str, weights: str, extra: str = "") -> PrintedScores | None:
        """What it prints of a variant; None for other networks and for any further axis."""
        return None if extra else self.scores.get((model, weights))

    def place(self, key: str, part: str = "") -> str:
        """Where the study prints the same, such as "Table 2"; empty where it does not.

        Args:
            key: what is shown: `parameters`, `class_f1`, `f1_by_class`, `consolidated`,
                `literature`, `confusion` or `class_heatmaps`.
            part: the class or the model that it is shown of, where there is one for each.
        """
        return self.table_of.get(f"{key}/{part}" if part else key, "")
