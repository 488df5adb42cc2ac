"""Columns of the cohort table that the user names, such as age and sex, without any image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stfmri.evidence.baselines.record import Baseline, Fitted, FloatArray, Task
from stfmri.study.errors import ConfigError
from stfmri.study.table_columns import number_of

if TYPE_CHECKING:
    from stfmri.study.config import Config
    from stfmri.study.splits import Subject

# Columns of the cohort table that are of its files, or name the subject, and why they are refused.
NO_COVARIATES = {
    "source": "which has a baseline of its own, the look-up from source alone, that is always run",
    "subject_id": "which names the subject",
    "patient_id": "which names the patient",
    "path": "which is a file",
    "mask": "which is a file",
}
FILES = "path_"  # begins the column of a contrast's file
# As tables write a value that nobody knows; n/a is that of BIDS.
MISSING = ("", "na", "n/a", "nan", "none", "null")


def predict(task: Task) -> Fitted:
    """Logistic regression: numbers standardised, other columns one-hot.

    A column is one of numbers where every value that training has is a number. A missing number is
    replaced by the training part's median, with a column that says so; a missing word is a
    category of its own.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from stfmri.evidence.baselines.fitting import fit_predict

    numeric = [name for name in task.covariates if _is_numeric(task.train, name)]
    words = [name for name in task.covariates if name not in numeric]
    impute = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    scaled = Pipeline([("impute", impute), ("scale", StandardScaler())])
    codes = _codes(task.train, words)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = [
        ("numbers", scaled, slice(0, len(numeric))),
        ("words", encoder, slice(len(numeric), None)),
    ]
    train, test = (
        np.hstack([_numbers(part, numeric), _coded(part, words, codes)])
        for part in (task.train, task.test)
    )
    used = [part for part, names in zip(parts, (numeric, words), strict=True) if names]
    fitted = fit_predict(task, train, test, ColumnTransformer(used))
    return Fitted(fitted.probability_NK, {**fitted.facts, "numbers": numeric, "words": words})


def unfit(config: Config, subjects: Sequence[Subject]) -> str:
    """Where no column is named.

    Raises:
        ConfigError: where a named column does not exist, says nothing of the patient, or is the
            class itself.
    """
    named, label = config.data.covariates, config.data.label
    if not named:
        return "data.covariates names no column, such as [age,sex]"
    if label in named:
        raise ConfigError(
            f"data.covariates names {label}, which is the class (data.label) itself; leave it out"
        )
    refused = NO_COVARIATES | dict.fromkeys(_files(config, subjects), NO_COVARIATES["path"])
    for name in named:
        if why := refused.get(name):
            raise ConfigError(f"data.covariates names {name}, {why}; leave it out")
    if subjects:
        known = [name for name in subjects[0].columns if name != label and name not in refused]
        if absent := [name for name in named if name not in known]:
            raise ConfigError(
                f"data.covariates names {', '.join(absent)}, which the cohort table does not have; "
                f"its columns are {', '.join(known)}"
            )
    return ""


def _files(config: Config, subjects: Sequence[Subject]) -> list[str]:
    """Columns of the volumes' files, besides `path`."""
    if config.data.contrasts:
        return [f"{FILES}{contrast}" for contrast in config.data.contrasts]
    names = subjects[0].columns if subjects else {}
    # Without a choice of contrasts the scan is in `path`, or else in the one column of a contrast.
    return [] if "path" in names else [name for name in names if name.startswith(FILES)]


def _value(subject: Subject, name: str) -> str:
    """The text in the column, "" where it is missing."""
    text = subject.columns.get(name, "").strip()
    return "" if text.lower() in MISSING else text


def _is_numeric(subjects: Sequence[Subject], name: str) -> bool:
    texts = [text for text in (_value(subject, name) for subject in subjects) if text]
    return bool(texts) and not any(math.isnan(number_of(text)) for text in texts)


def _numbers(subjects: Sequence[Subject], names: Sequence[str]) -> FloatArray:
    """(N, columns), NaN where missing."""
    rows = [[number_of(_value(subject, name)) for name in names] for subject in subjects]
    return np.array(rows, np.float64).reshape(len(subjects), len(names))


def _codes(subjects: Sequence[Subject], names: Sequence[str]) -> dict[str, dict[str, int]]:
    """A number for each word that a column has in training."""
    return {
        name: {word: code for code, word in enumerate(sorted({_value(s, name) for s in subjects}))}
        for name in names
    }


def _coded(
    subjects: Sequence[Subject], names: Sequence[str], codes: dict[str, dict[str, int]]
) -> npt.NDArray[np.float64]:
    """(N, columns), -1 for a word that training does not have."""
    rows = [
        [float(codes[name].get(_value(subject, name), -1)) for name in names]
        for subject in subjects
    ]
    return np.array(rows, np.float64).reshape(len(subjects), len(names))


BASELINE = Baseline(
    name="covariates",
    label="Covariates",
    phrase="the covariates of the cohort table, which see no image",
    meaning="What the cohort table says of a patient is enough for such a score, without a scan.",
    sees_images=False,
    predict=predict,
    unfit=unfit,
)
