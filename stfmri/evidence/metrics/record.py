"""What a metric is: a record that tables, figures, summary.json and the report iterate over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)  # equal only to itself, so that what is derived can be kept
class Scores:
    """Test predictions, as metrics of probabilities take them.

    Attributes:
        label_N: number of the true class of each prediction, int.
        probability_NK: probabilities of the classes, in [0, 1], rows sum to 1.
        fold_N: number of the fold of each prediction, int. Probabilities of different folds come
            from different networks: what depends on their order is computed within folds.
    """

    label_N: npt.NDArray[np.int64]
    probability_NK: FloatArray
    fold_N: npt.NDArray[np.int64]

    def of_fold(self, fold: int) -> Scores:
        """The predictions of one fold."""
        chosen = self.fold_N == fold
        return Scores(self.label_N[chosen], self.probability_NK[chosen], self.fold_N[chosen])


@dataclass(frozen=True)
class Metric:
    """One metric. Exactly one of `from_counts` and `from_scores` is given.

    Attributes:
        name: its key in summary.json.
        label: as a table's column is headed.
        definition: one sentence for the report's Method.
        per_class: whether it has one value a class.
        from_counts: confusion matrices (..., K, K), rows true, to (...,), or (..., K) per class.
        from_scores: predictions and weights (D, N) of them, to (D,), or (D, K) per class. Weights
            are at least 0, of any number type; a prediction of weight 2 counts twice. A row of ones
            gives the plain value.
        higher_is_better: False for losses and errors.
        bounds: the least and the greatest value it can take.
        mean_of: the per-class metric whose plain mean over classes it is, if that is to save time.
        table: which table of overall metrics shows it; empty for none but the first.
        proportion: confusion matrices to (successes, trials), where it is a plain proportion.
        same_of_two: name of the overall metric that it equals where there are two classes, both of
            them tested; no table shows it then.

    Raises:
        ValueError: if both or neither of `from_counts` and `from_scores` are given.
    """

    name: str
    label: str
    definition: str
    per_class: bool
    from_counts: Callable[[npt.ArrayLike], FloatArray] | None = None
    from_scores: Callable[[Scores, npt.ArrayLike], FloatArray] | None = None
    higher_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)
    mean_of: Metric | None = None
    table: str = ""
    proportion: Callable[[npt.ArrayLike], tuple[FloatArray, FloatArray]] | None = None
    same_of_two: str = ""

    def __post_init__(self) -> None:
        if (self.from_counts is None) == (self.from_scores is None):
            raise ValueError(
                f"expected one of from_counts and from_scores for metric {self.name}, found "
                f"{'neither' if self.from_counts is None else 'both'}"
            )

    @property
    def label_in_text(self) -> str:
        """Its label within a sentence: `macro F1`, but `AUC`."""
        first = self.label.split()[0]
        return self.label if first.isupper() else self.label[0].lower() + self.label[1:]

    def of_counts(self, counts: npt.ArrayLike) -> FloatArray:
        """Its values of confusion matrices (..., K, K).

        Raises:
            TypeError: for a metric of probabilities.
        """
        if self.from_counts is None:
            raise TypeError(f"{self.name} is computed from probabilities, not from counts")
        return self.from_counts(counts)

    def of_scores(self, scores: Scores, weights_DN: npt.ArrayLike | None = None) -> FloatArray:
        """Its values of predictions in each draw; the plain ones, without a first axis, of none.

        Raises:
            TypeError: for a metric of counts.
        """
        if self.from_scores is None:
            raise TypeError(f"{self.name} is computed from counts, not from probabilities")
        if weights_DN is not None:
            return self.from_scores(scores, weights_DN)
        return np.asarray(self.from_scores(scores, np.ones((1, len(scores.label_N))))[0])
