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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import TransformerMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import ParameterGrid, StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from stfmri.evidence.baselines.record import INNER_LOSS, Fitted, FloatArray, Task
from stfmri.study.splits import group_subjects

if TYPE_CHECKING:
    from stfmri.study.splits import Subject

INNER_FOLDS = 5
# Inverse regularisation, C of the logistic regression; the strongest comes first.
STRENGTHS = (0.001, 0.01, 0.1, 1.0)

IntArray = npt.NDArray[np.intp]
Split = tuple[IntArray, IntArray]


# On matrices as small as these, threads that wait for each other cost ten times what they save.
@threadpool_limits.wrap(limits=1)
def fit_predict(
    task: Task,
    train_NF: FloatArray,
    test_MF: FloatArray,
    preparation: TransformerMixin,
    settings: Mapping[str, Sequence[Any]] | None = None,
) -> Fitted:
    """Choose hyper-parameters by inner cross-validation, fit on all of training, and predict.

    Args:
        task: whose `train` and `test` the rows are of.
        train_NF, test_MF: features.
        preparation: what comes before the classifier; its output has about unit variance.
        settings: values of its parameters to choose from. Where no choice is possible, because some
            class has one patient only, the middle ones are taken.

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
    choice = _choose(preparation, train_NF, code_N, settings or {}, splits)
    prepared = clone(preparation).set_params(**choice.setting)
    pipeline = Pipeline([("prepare", prepared), ("classify", _regression(choice.strength))])
    probability_MK[:, present] = pipeline.fit(train_NF, code_N).predict_proba(test_MF)
    facts = {
        "hyper_parameters": {**choice.setting, "C": choice.strength},
        INNER_LOSS: choice.loss,
        "inner_macro_f1": choice.macro_f1,
        "inner_folds": len(splits),
        "features": train_NF.shape[1],
        "training_scans": len(train_NF),
    }
    return Fitted(probability_MK, facts)


def _regression(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, class_weight="balanced", max_iter=10_000)


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


@dataclass(frozen=True)
class _Choice:
    """Hyper-parameters, with their inner scores where there was a choice."""

    setting: dict[str, Any]
    strength: float
    loss: float | None = None
    macro_f1: float | None = None


def _choose(
    preparation: TransformerMixin,
    rows_NF: FloatArray,
    code_N: IntArray,
    settings: Mapping[str, Sequence[Any]],
    splits: Sequence[Split],
) -> _Choice:
    """The choice of least inner log loss; of equal ones the first."""
    if not splits:
        middle = {name: values[len(values) // 2] for name, values in settings.items()}
        return _Choice(middle, STRENGTHS[len(STRENGTHS) // 2])
    weight_N = compute_sample_weight("balanced", code_N)
    shape = (len(STRENGTHS), len(code_N), len(np.unique(code_N)))
    choices, losses = [], []
    for setting in ParameterGrid(settings):
        probability_SNK = np.zeros(shape)
        for train, val in splits:
            # Prepared once for all strengths, which is why this is no GridSearchCV.
            prepared = clone(preparation).set_params(**setting).fit(rows_NF[train])
            fitted, held = prepared.transform(rows_NF[train]), prepared.transform(rows_NF[val])
            for number, strength in enumerate(STRENGTHS):
                classifier = _regression(strength).fit(fitted, code_N[train])
                probability_SNK[number, val] = classifier.predict_proba(held)
        for strength, probability_NK in zip(STRENGTHS, probability_SNK, strict=True):
            loss = float(log_loss(code_N, probability_NK, sample_weight=weight_N))
            score = float(f1_score(code_N, probability_NK.argmax(axis=1), average="macro"))
            choices.append(_Choice(setting, strength, loss, score))
            losses.append(loss)
    return choices[int(np.argmin(losses))]
