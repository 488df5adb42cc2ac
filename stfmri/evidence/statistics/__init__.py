"""How sure are we? Intervals, comparisons of whole families, selection and tests.

Pure functions of NumPy arrays. Letters in their shapes: V variants (or baselines), k folds,
P clusters of patients who share a patient or a volume, K classes, M pairs. Everything starts from
`counts` of shape (V, k, P, K, K), the confusion matrix of each cluster's predictions by variant and
fold, or from its sum over folds, `contributions` of shape (V, P, K, K). Of variants that were
trained with several seeds there is one such array a training; `owner_M` says whose it is.
"""

from stfmri.evidence.statistics.auc import (
    AucEstimate,
    AucTest,
    auc_interval,
    delong,
    delong_test,
)
from stfmri.evidence.statistics.bootstrap import (
    DRAWS,
    FLAT,
    SEED,
    cluster_weights,
    confusion_draws,
    extra_patients,
    interval,
)
from stfmri.evidence.statistics.chance import Chance, against_chance, double_use
from stfmri.evidence.statistics.comparisons import (
    Family,
    against,
    all_pairs,
    networks_family,
    patients_degrees_of_freedom,
    procedures_family,
)
from stfmri.evidence.statistics.hypothesis import (
    McNemar,
    TTest,
    cohens_h,
    corrected_resampled_t_test,
    holm,
    mcnemar,
)
from stfmri.evidence.statistics.intervals import (
    PrecisionPlan,
    networks_interval,
    precision_plan,
    procedure_interval,
    wilson,
)
from stfmri.evidence.statistics.procedure import (
    ProcedureVariance,
    overlap_factor,
    procedure_noise,
    procedure_variance,
    reassigned_fold_scores,
)
from stfmri.evidence.statistics.seeds import (
    SpreadParts,
    draws_of_one,
    mean_over_seeds,
    score_over_seeds,
    spread_parts,
)
from stfmri.evidence.statistics.selection import Selected, select_best

__all__ = [
    "DRAWS",
    "FLAT",
    "SEED",
    "AucEstimate",
    "AucTest",
    "Chance",
    "Family",
    "McNemar",
    "PrecisionPlan",
    "ProcedureVariance",
    "Selected",
    "SpreadParts",
    "TTest",
    "against",
    "against_chance",
    "all_pairs",
    "auc_interval",
    "cluster_weights",
    "cohens_h",
    "confusion_draws",
    "corrected_resampled_t_test",
    "delong",
    "delong_test",
    "double_use",
    "draws_of_one",
    "extra_patients",
    "holm",
    "interval",
    "mcnemar",
    "mean_over_seeds",
    "networks_family",
    "networks_interval",
    "overlap_factor",
    "patients_degrees_of_freedom",
    "precision_plan",
    "procedure_interval",
    "procedure_noise",
    "procedure_variance",
    "procedures_family",
    "reassigned_fold_scores",
    "score_over_seeds",
    "select_best",
    "spread_parts",
    "wilson",
]
