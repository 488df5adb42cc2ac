"""Principal components of coarse volumes, which have many more numbers than there are subjects."""

from __future__ import annotations

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from stfmri.evidence.baselines.record import FloatArray

COUNTS = (16, 64)  # of components, to choose from
# Variance, as a share of the first component's, below which a component is rounding error.
NO_VARIANCE = 1e-10


@threadpool_limits.wrap(limits=1)
def turned(train_NF: FloatArray, test_MF: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same rows in as many coordinates as there are training subjects.

    All that a model which depends on inner products alone can learn from the training rows, such as
    principal components, lies in the space that they span. In an orthonormal basis of it, its
    predictions are the same, at a fraction of the cost where F is much larger than N.

    Returns:
        (N, min(N, F)) and (M, min(N, F)).
    """
    basis_FN, coordinates = np.linalg.qr(train_NF.T)
    return coordinates.T, test_MF @ basis_FN


class Components(TransformerMixin, BaseEstimator):
    """The first principal components, each scaled to unit variance.

    There are fewer than `count` where the rows have no more, and where nothing varies, a single
    column of zeros; scikit-learn's own class refuses the one and divides by zero in the other.
    """

    def __init__(self, count: int = COUNTS[0]) -> None:
        self.count = count

    def fit(self, rows_NF: FloatArray, labels_N: object = None) -> Self:  # noqa: ARG002
        """Find the components of the rows."""
        self.mean_F_ = rows_NF.mean(axis=0)
        self.basis_FP_ = np.zeros((rows_NF.shape[1], 1))
        centred = rows_NF - self.mean_F_
        if np.abs(centred).max() > 1e-9 * np.abs(rows_NF).max():
            most = min(self.count, *rows_NF.shape)
            pca = PCA(most, svd_solver="full").fit(centred)
            variance = pca.explained_variance_
            kept = variance > NO_VARIANCE * variance[0]
            self.basis_FP_ = pca.components_[kept].T / np.sqrt(variance[kept])
        return self

    def transform(self, rows_NF: FloatArray) -> FloatArray:
        """The rows' components, (N, P)."""
        return (rows_NF - self.mean_F_) @ self.basis_FP_
