"""What was done to the predictions, for the methods text and the definitions of the report."""

from __future__ import annotations

import math

from stfmri.evidence.estimates import PRIMARY, Results
from stfmri.evidence.statistics import DRAWS

# (What, in words) for the page's list of definitions.
DEFINITIONS = (
    (
        "Mean ± standard deviation",
        "Over folds, with n − 1 in the denominator. A class that is absent, or a quotient 0/0, has "
        "no value (–); means are over what is defined.",
    ),
    (
        "95 % interval, these networks",
        "Of the metric pooled over folds, for the networks as they were trained, on new patients: "
        f"{DRAWS:,} weighted draws of patients (Bayesian bootstrap, Rubin 1981), each with all of "
        "their predictions in all folds, and one further patient of each class whose prediction is "
        "not known, so that no interval has zero width. Wilson's interval for plain proportions "
        "where each patient was tested once.",
    ),
    (
        "95 % interval, the procedure",
        "For networks trained anew in the same way on as many subjects: the same draws with the "
        "variance between folds that different test patients do not explain, times 1/k + "
        "n_test/n_train (Nadeau & Bengio 2003). Few folds tell little of a variance, so those of "
        "the networks are drawn towards their mean, and those of the baselines towards theirs "
        "(Smyth 2004): an interval also depends on what is compared. One fold says nothing of it.",
    ),
    (
        "Differences",
        "Simultaneous intervals and adjusted p-values of a whole family of differences, from the "
        "largest studentised deviation of each draw (single-step max-t, Westfall & Young 1993).",
    ),
    (
        "Corrected for the choice",
        "The best of several variants is best partly by luck. Patients drawn at random choose the "
        "best, those left out score it (BBC-CV, Tsamardinos et al. 2018).",
    ),
    (
        "Permutation test",
        "Labels are exchanged between patients and meet all predictions there. In cross-validation "
        "two patients may each be tested by a network that the other one taught. Exchanged labels "
        "do not repeat this, so the permuted scores are drawn away from their mean, in k folds by "
        "a factor of √2. The p-value allows for all variants and baselines by the highest score of "
        "each permutation.",
    ),
    (
        "Other tests",
        "Corrected resampled t-test over folds (Nadeau & Bengio 2003); McNemar's exact test; for "
        "the AUC DeLong's test with two classes, else paired draws of patients. Corrected by Holm "
        "within each family. Effect size: Cohen's h of the shares of right predictions.",
    ),
    (
        "Within sources",
        "The area under the ROC curve over pairs of scans of one source and fold, averaged over "
        "the sources that hold several classes.",
    ),
)
# The same, of sweeps with several seeds.
OF_SEEDS = (
    (
        "Seeds",
        "Trainings of one variant on the same folds. Its score is the mean of theirs, also in each "
        "draw of patients, which is the same for all seeds: they count as no further patients, and "
        "the interval of these networks is as wide as that of one seed. Differences are of the "
        "means over seeds.",
    ),
    (
        "Ensemble of seeds",
        "The mean of the probabilities of all seeds, which takes as many trainings; compared with "
        "the others as a variant of its own.",
    ),
)


def definitions(results: Results) -> tuple[tuple[str, str], ...]:
    """(What, in words) for the page's list."""
    return DEFINITIONS + (OF_SEEDS if results.has_seeds else ())


def baselines_used(results: Results) -> list[str]:
    """Whole sentences on what the networks were compared with."""
    kinds = [results.evidence.kinds[one.predicted.name] for one in results.baselines]
    compared = list(dict.fromkeys(kind.phrase for kind in kinds if not kind.is_control))
    sentences = []
    if compared:
        sentences.append(
            "The networks were compared on the same folds with " + "; ".join(compared) + "."
        )
    if any(kind.sees_images for kind in kinds):
        sentences.append(
            "Hyper-parameters of the baselines were chosen by cross-validation inside each "
            "training part."
        )
    if volumes := list(dict.fromkeys(kind.volumes for kind in kinds if kind.volumes)):
        sentences.append(
            f"Those that see images were fitted to each of {len(volumes)} preprocessings of the "
            f"scans ({', '.join(volumes)})."
        )
    controls = dict.fromkeys(kind.phrase for kind in kinds if kind.is_control)
    return sentences + [f"As a control, {phrase} had to score chance." for phrase in controls]


def statistics_used(results: Results) -> list[str]:
    """Whole sentences on metrics, intervals and tests."""
    sentences = [
        f"The primary metric was {PRIMARY.label_in_text}, pooled over folds.",
        f"Its 95 % intervals are from {DRAWS:,} weighted draws of patients (Bayesian bootstrap), "
        "with all predictions of a patient together.",
    ]
    if results.has_seeds:
        sentences.append(
            "Scores are means over seeds, which were drawn with their patients and not as further "
            "ones; the means of the seeds' probabilities were compared as variants of their own."
        )
    if not all(math.isnan(one.primary.procedure_low) for one in results.everyone):
        sentences.append(
            "Intervals of the training procedure and all comparisons add the variance between "
            "folds that test patients do not explain, times 1/k + n_test/n_train (Nadeau & Bengio "
            "2003)."
        )
    else:
        sentences.append("They speak of the trained networks alone.")
    sentences.append(
        "Differences were tested as families, with simultaneous intervals by max-t (Westfall & "
        "Young 1993)."
    )
    if results.selection is not None:
        sentences.append(
            "The score of the best variant was corrected for its selection by BBC-CV (Tsamardinos "
            "et al. 2018)."
        )
    text = "Scores were tested against chance by permutation of labels over patients"
    widened = max((test.widened for test in results.chance.values()), default=1.0)
    if widened > 1:
        text += (
            ". As two patients may each be tested by a network that the other one taught, permuted "
            f"scores were drawn away from their mean by a factor of {widened:.2f}"
        )
    sentences.append(f"{text}.")
    return sentences
