"""What the best of many variants really scores: bootstrap bias-corrected cross-validation.

The best of many variants is best partly by luck, so its own score is too high. Each draw splits
the patients in two: those drawn (with replacement) choose the best variant, those left out score
it. The mean over draws estimates the score of *choosing the best of these variants* (Tsamardinos,
Greasidou & Borboudakis 2018, algorithm 5, BBC-CV). Nothing is trained again.

With several folds the folds are split in the same way, so that a variant which had the luckier
networks is not scored by them either; the paper pools the folds, which corrects for luck with
patients alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.statistics.bootstrap import CHUNK, DRAWS, SEED, Score

_PATIENTS, _FOLDS, _TIES = range(20, 23)


@dataclass(frozen=True)
class Selected:
    """The score of the selection "the best of these variants".

    Attributes:
        leader: number of the variant that is best in all data.
        score: its observed score, too high on average.
        corrected: the estimate corrected for the selection, never above `score`.
        optimism: `score - corrected`.
        chosen: shape (V,), share of the draws in which each variant was best.
    """

    leader: int
    score: float
    corrected: float
    chosen: FloatArray

    @property
    def optimism(self) -> float:
        """How much too high the observed score is, on average."""
        return self.score - self.corrected

    def interval(self, leader_interval: npt.ArrayLike, lowest: float = 0.0) -> FloatArray:
        """The interval of the corrected score: the leader's, its lower end moved by the optimism.

        The upper end stays, since moving it would deny a perfect leader any room above the
        corrected score. The paper's percentiles over draws are wider still: each draw scores on
        but 37 % of the patients.

        Args:
            leader_interval: shape (2,), of `networks_interval` or `procedure_interval`.
            lowest: least possible score.
        """
        low, high = np.asarray(leader_interval, dtype=np.float64)
        return np.array([np.maximum(low - self.optimism, lowest), high])


def select_best(
    counts: npt.ArrayLike,
    metric: Score,
    *,
    resample_folds: bool,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Selected:
    """Estimate what the best variant scores once the luck of being chosen is taken off.

    Args:
        counts: shape (V, k, P, K, K), for each variant, fold and cluster the confusion matrix of
            its predictions; zero where it was not tested.
        metric: function of confusion matrices of shape (..., V, K, K); higher is better. It may
            average the trainings of a contestant (`score_over_seeds`), who is then chosen.
        resample_folds: also hold the networks of some folds back from the choice; of no effect
            with a single fold.
        draws: number of draws.
        seed: the same seed gives the same draws.

    Raises:
        ValueError: where there is no variant or no cluster.
    """
    array = np.asarray(counts, dtype=np.float32)
    variants, folds, clusters, classes, _ = array.shape
    if variants < 1 or clusters < 1:
        raise ValueError(f"expected at least 1 variant and 1 cluster, found {array.shape}")
    cells = array.transpose(1, 2, 0, 3, 4).reshape(folds * clusters, -1)
    ties = np.random.default_rng([seed, _TIES])
    observed = metric(array.sum(axis=(1, 2)))
    chosen_scores, all_scores, chosen = [], [], np.zeros(len(observed))
    step = max(1, CHUNK // max(cells.shape))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        inside, outside = _split(folds, clusters, size, resample_folds, [seed, start])
        shape = (size, variants, classes, classes)
        within = metric((inside @ cells).reshape(shape))
        without = metric((outside @ cells).reshape(shape))
        best = _best(within, ties)
        chosen_scores.append(np.take_along_axis(without, best[:, None], axis=1)[:, 0])
        all_scores.append(without)
        chosen += np.bincount(best, minlength=len(observed))
    leader = int(np.nanargmax(observed))
    score = float(observed[leader])
    # Metrics such as F1 are lower on fewer patients. The variants' mean shows by how much.
    of_size = np.nanmean(np.concatenate(all_scores)) - np.nanmean(observed)
    corrected = float(np.nanmean(np.concatenate(chosen_scores)) - of_size)
    return Selected(leader, score, min(corrected, score), chosen / draws)


def _split(
    folds: int, clusters: int, draws: int, resample_folds: bool, seed: list[int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """How often each pair of fold and cluster chooses, and whether it scores.

    Returns:
        Two arrays of shape (draws, folds * clusters).
    """
    patients = np.random.default_rng([*seed, _PATIENTS]).multinomial(
        clusters, np.full(clusters, 1.0 / clusters), size=draws
    )
    networks = np.ones((draws, folds), dtype=np.int64)
    held_back = networks > 0
    if resample_folds and folds > 1:
        # A draw of every fold once would leave none to score: it is drawn again.
        generator = np.random.default_rng([*seed, _FOLDS])
        networks = generator.multinomial(folds, np.full(folds, 1.0 / folds), size=draws)
        while (full := (networks > 0).all(axis=1)).any():
            networks[full] = generator.multinomial(
                folds, np.full(folds, 1.0 / folds), size=int(full.sum())
            )
        held_back = networks == 0
    inside = networks[:, :, None] * patients[:, None, :]
    outside = held_back[:, :, None] * (patients == 0)[:, None, :]
    return (
        inside.reshape(draws, -1).astype(np.float32),
        outside.reshape(draws, -1).astype(np.float32),
    )


def _best(scores: FloatArray, ties: np.random.Generator) -> npt.NDArray[np.intp]:
    """Number of the highest score of each row, among equal ones any; undefined ones are lowest."""
    known = np.nan_to_num(scores, nan=-np.inf)
    highest = known == known.max(axis=1, keepdims=True)
    return (highest * (1.0 + ties.random(scores.shape))).argmax(axis=1)
