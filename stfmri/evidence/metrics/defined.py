"""What is undefined, and how means treat it: one rule for every metric.

A quotient 0/0 is undefined and is NaN, never 0 or 1: the precision of a class that is never
predicted, the recall, AUC or average precision of a class that is absent from a test part, the AUC
of a class that has its test part to itself, everything of no predictions at all. A mean, whether
over classes or over folds, is over what is defined, and is NaN where nothing is.
"""

from __future__ import annotations

import numpy as np

from stfmri.evidence.metrics.record import FloatArray


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide, with NaN where the denominator is zero; both of one shape."""
    undefined = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=np.asarray(denominator) != 0)


def mean_of_defined(values: FloatArray) -> FloatArray:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(float))
