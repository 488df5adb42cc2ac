"""Who shares a variance over trainings: those of one kind, and nobody else."""

from __future__ import annotations

import numpy as np
import pytest

from stfmri.evidence.contest import variance_of

NETWORKS, BASELINES = [0, 1, 2], [3, 4]


@pytest.mark.parametrize("paired", [False, True])
def test_a_baselines_variance_is_moderated_by_baselines_alone(paired: bool) -> None:
    generator = np.random.default_rng(0)
    scores, reassigned = generator.random((5, 6)), generator.random((20, 5, 6))
    among = variance_of([NETWORKS, BASELINES], scores, reassigned, 0.4, paired=paired)
    alone = variance_of([[0, 1]], scores[3:], reassigned[:, 3:], 0.4, paired=paired)
    np.testing.assert_allclose(among.observed[3:], alone.observed)
    np.testing.assert_allclose(among.explained[3:], alone.explained)
    np.testing.assert_allclose(
        np.broadcast_to(among.degrees_of_freedom, 5)[3:], alone.degrees_of_freedom
    )


def test_a_baseline_that_is_alone_of_its_kind_has_the_variance_of_its_folds() -> None:
    generator = np.random.default_rng(1)
    scores, reassigned = generator.random((4, 6)), generator.random((20, 4, 6))
    found = variance_of([NETWORKS, [3]], scores, reassigned, 0.4, paired=False)
    assert found.observed[3] == pytest.approx(np.var(scores[3], ddof=1))
    assert np.broadcast_to(found.degrees_of_freedom, 4)[3] == 5
