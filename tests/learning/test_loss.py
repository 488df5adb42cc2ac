from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from stfmri.learning.loss import class_weights, guessing_loss, weighted_loss

LABELS = [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_constant_guess_has_less_loss(smoothing: float) -> None:
    weight_K = class_weights(LABELS, 3)
    label_B = torch.tensor(LABELS)

    def loss_of(logits_K: np.ndarray) -> float:
        logits_BK = torch.from_numpy(logits_K).expand(len(LABELS), 3)
        return float(weighted_loss(logits_BK, label_B, weight_K.double(), smoothing))

    least = minimize(loss_of, np.zeros(3), tol=1e-10)
    assert guessing_loss(LABELS, weight_K, smoothing) == pytest.approx(least.fun, rel=1e-6)


def test_a_class_that_nobody_has_costs_nothing() -> None:
    assert guessing_loss([0, 0, 1, 1], torch.ones(3)) == pytest.approx(np.log(2))
