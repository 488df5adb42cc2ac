"""Logistic regression with hyper-parameters chosen inside the training part of a fold.

Classes are weighted by the inverse of their frequency, as the networks' loss weighs them: the
headline is macro F1, to which a rare class counts as much as a frequent one, and the probabilities
of a baseline and of a network then have the same prior, equal for all classes, so that they may be
compared. The hyper-parameters are those of the least log loss, weighed in the same way, of pooled
out-of-fold probabilities: it is finer-grained than a count of right predictions, and punishes
over-confidence.

This module imports scikit-learn; the registry's modules import it when they predict.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import ParameterGrid, StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from stfmri.evidence.baselines.record import INNER_LOSS, Fitted, FloatArray, Task
from stfmri.study.splits import group_subjects

if TYPE_CHECKING:
    from stfmri.study.splits import Subject

INNER_FOLDS = 5
# Weak regularisation last: of settings that score alike the earlier one is taken.
STRENGTHS = (0.001, 0.01, 0.1, 1.0)

IntArray = npt.NDArray[np.intp]
Split = tuple[IntArray, IntArray]


def regression() -> LogisticRegression:
    """The classifier at the end of every pipeline; its inputs have about unit variance."""
    return LogisticRegression(class_weight="balanced", max_iter=10_000)


# On matrices as small as these, threads that wait for each other cost ten times what they save.
@threadpool_limits.wrap(limits=1)
def fit_predict(
    task: Task,
    train_NF: FloatArray,
    test_MF: FloatArray,
    steps: Sequence[tuple[str, BaseEstimator]],
    settings: Mapping[str, Sequence[Any]],
) -> Fitted:
    """Choose hyper-parameters by inner cross-validation, fit on all of training, and predict.

    Args:
        task: whose `train` and `test` the rows are of.
        train_NF, test_MF: features.
        steps: of a scikit-learn pipeline, before the classifier `classify`.
        settings: values to choose from, by parameter of the pipeline; where no choice is possible,
            because some class has one patient only, the middle one is taken.

    Returns:
        Probabilities (M, K), 0 for a class that training does not have.
    """
    label_N = np.array([task.classes.index(subject.label) for subject in task.train])
    present, code_N = np.unique(label_N, return_inverse=True)
    probability_MK = np.zeros((len(test_MF), len(task.classes)))
    if len(present) == 1:
        probability_MK[:, present] = 1
        return Fitted(probability_MK, {"hyper_parameters": {}, INNER_LOSS: None})
    splits = inner_splits(task.train, code_N, task.seed)
    # Steps that were fitted to the same rows before are read from there, for all of C at once.
    with tempfile.TemporaryDirectory() as memory:
        pipeline = Pipeline([*steps, ("classify", regression())], memory=memory)
        chosen, scores = _choose(pipeline, train_NF, code_N, settings, splits)
        pipeline.set_params(**chosen).fit(train_NF, code_N)
        probability_MK[:, present] = pipeline.predict_proba(test_MF)
    facts = {
        "hyper_parameters": chosen,
        **scores,
        "inner_folds": len(splits),
        "features": train_NF.shape[1],
        "training_scans": len(train_NF),
    }
    return Fitted(probability_MK, facts)


def inner_splits(subjects: Sequence[Subject], code_N: IntArray, seed: int) -> list[Split]:
    """Stratified folds of the training part that keep patients and equal volumes together.

    Args:
        code_N: number of each subject's class, from 0.

    Returns:
        Positions of the training and of the validation part of each; empty where some class is in
        fewer than two groups, or would be missing from a training part.
    """
    group_of = {
        subject.subject_id: number
        for number, group in enumerate(group_subjects(subjects))
        for subject in group
    }
    group_N = np.array([group_of[subject.subject_id] for subject in subjects])
    least = min(len(np.unique(group_N[code_N == code])) for code in np.unique(code_N))
    if least < 2:
        return []
    folds = StratifiedGroupKFold(min(INNER_FOLDS, least), shuffle=True, random_state=seed)
    splits = list(folds.split(code_N, code_N, group_N))
    classes = len(np.unique(code_N))
    if any(len(np.unique(code_N[train])) < classes or not len(val) for train, val in splits):
        return []
    return splits


def _choose(
    pipeline: Pipeline,
    rows_NF: FloatArray,
    code_N: IntArray,
    settings: Mapping[str, Sequence[Any]],
    splits: Sequence[Split],
) -> tuple[dict[str, Any], dict[str, float | None]]:
    """The setting of least inner log loss, with its scores."""
    if not splits:
        middle = {name: values[len(values) // 2] for name, values in settings.items()}
        return middle, {INNER_LOSS: None, "inner_macro_f1": None}
    weight_N = compute_sample_weight("balanced", code_N)
    best: tuple[float, dict[str, Any], float] | None = None
    for setting in ParameterGrid(settings):
        probability_NK = cross_val_predict(
            clone(pipeline).set_params(**setting),
            rows_NF,
            code_N,
            cv=splits,
            method="predict_proba",
        )
        loss = float(log_loss(code_N, probability_NK, sample_weight=weight_N))
        if best is None or loss < best[0]:
            found = probability_NK.argmax(axis=1)
            best = loss, setting, float(f1_score(code_N, found, average="macro"))
    assert best
    return best[1], {INNER_LOSS: best[0], "inner_macro_f1": best[2]}
