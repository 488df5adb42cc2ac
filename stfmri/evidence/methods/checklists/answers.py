"""What a study itself can answer of a reporting checklist; each function answers one question.

An answer is a fact that was recorded or a property of every sweep, never an opinion. An empty one
means that this study does not know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stfmri.evidence.methods import method_text, network_text, preprocessing_text
from stfmri.evidence.methods.flow import flow_of
from stfmri.evidence.methods.network_text import INITIAL, seeds
from stfmri.evidence.methods.settings import Settings
from stfmri.evidence.methods.study import Study
from stfmri.evidence.methods.wording import spanned
from stfmri.study.words import enumerated, plural


@dataclass(frozen=True)
class Material:
    """What answers are made of.

    Attributes:
        study: the sweep without its scores.
        paragraphs: heading → text of the methods section.
    """

    study: Study
    paragraphs: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        """Of all variants."""
        return self.study.settings


def technology(material: Material) -> str:
    """The kind of AI."""
    if not material.study.variants:
        return ""
    names = network_text.networks(material.study.variants)
    return f"Deep learning: three-dimensional convolutional networks ({names})."


def goal(material: Material) -> str:
    """Development and evaluation of classifiers."""
    study = material.study
    return (
        f"Development and evaluation of {plural(len(study.variants), 'network variant')} to "
        f"tell {enumerated(study.cohort.classes)} apart from one scan."
    )


def sources(material: Material) -> str:
    """Scans of each source."""
    counts = Counter(subject.source for subject in material.study.cohort.used)
    named = [f"{name} ({plural(count, 'scan')})" for name, count in sorted(counts.items())]
    return f"{plural(len(counts), 'source')}: {enumerated(named)}."


def exclusions(material: Material) -> str:
    """What was excluded and why, as the methods text says it."""
    return " ".join(method_text.exclusions(material.study))


def preprocessing(material: Material) -> str:
    """The chain from scan to volume."""
    return material.paragraphs.get("Preprocessing", "")


def preparation(material: Material) -> str:
    """The chain, and the checks of its results."""
    checks = (
        "Every scan, whatever its group, went through this chain and the same checks (volume, "
        "extent and position of its brain, and a picture, in qc.html)."
    )
    return f"{preprocessing(material)} {checks}"


def subsets(material: Material) -> str:
    """Preprocessed scans that were not used."""
    flow = flow_of(material.study)
    if flow.unused:
        return f"{flow.unused:,} of {flow.cached:,} preprocessed scans are in no part of the split."
    return f"None: all {flow.cached:,} preprocessed scans were used."


def missing(material: Material) -> str:
    """No imputation: a scan without a volume or a class is left out."""
    flow = flow_of(material.study)
    excluded = "not recorded" if flow.rejected is None else f"{flow.excluded:,}"
    imputed = (
        " ".join(preprocessing_text.zeros(material.study))
        or "Nothing that the networks see was imputed."
    )
    return (
        f"Scans without a usable volume were left out (n = {excluded}); every scan has a class. "
        f"{imputed} Missing values of other columns are counted in Table 1."
    )


def label(material: Material) -> str:
    """Where classes were read."""
    config = material.study.config
    classes = enumerated(material.study.cohort.classes)
    return f"The column {config.data.label} of the cohort table ({classes})."


def same_label(material: Material) -> str:
    """Test scans have their class from where training scans have it."""
    return f"As the training scans: {label(material)}"


def split(material: Material) -> str:
    """How parts were drawn and how large they are."""
    return material.paragraphs.get("Splits", "")


def disjoint(material: Material) -> str:  # noqa: ARG001
    """The level of partition, which is the same for every sweep."""
    return (
        "The patient: all scans of a patient, and scans with identical voxels, lie in one part of "
        "a fold. This was checked before training, and again when results were collected."
    )


def sample_size(material: Material) -> str:
    """How many there were."""
    study = material.study
    test = spanned([len(fold.test) for fold in study.cohort.folds])
    return f"{plural(len(study.cohort.used), 'scan')} were available; {test} tested in each fold."


def networks(material: Material) -> str:
    """Networks, their input and their output."""
    if not material.study.variants:
        return ""
    return " ".join((*network_text.architecture(material.study), output(material)))


def software(material: Material) -> str:
    """Versions and machines."""
    return material.paragraphs.get("Software", "")


def initialisation(material: Material) -> str:
    """Initial weights and seed."""
    if not material.study.variants:
        return ""
    settings = material.settings
    return f"Networks started from {settings.said(INITIAL)}; {seeds(material.study)}."


def training(material: Material) -> str:
    """The paragraph on networks and training."""
    return material.paragraphs.get("Networks and training", "")


def selection(material: Material) -> str:
    """Whether settings or a model were chosen, and on what."""
    return f"{material.study.choosing} {network_text.selection(material.study)}".strip()


def ensembling(material: Material) -> str:  # noqa: ARG001
    """Each prediction is of one network."""
    return "Predictions of networks were not combined: each is that of the one network of its fold."


def statistics(material: Material) -> str:
    """Metrics, intervals and tests."""
    return material.paragraphs.get("Statistics", "")


def robustness(material: Material) -> str:
    """Baselines, which show what a score is worth, and the spread over folds."""
    baselines = material.paragraphs.get("Baselines", "")
    folds = plural(len(material.study.cohort.folds), "fold")
    return f"{baselines} Scores are given for {folds}.".strip()


def internal(material: Material) -> str:
    """Tests on scans that the network was not trained on."""
    if material.study.config.data.external is not None:
        return ""
    return f"Every score is of scans that the network was not trained on. {split(material)}"


def external(material: Material) -> str:
    """Whether another cohort was tested."""
    name = material.study.config.data.external
    if name is not None:
        return f"Networks trained on one cohort were tested on another, {name}."
    return "None in this sweep: all scans come from one cohort."


def flow(material: Material) -> str:
    """Counts from scans found to scans tested."""
    counts = flow_of(material.study)
    found = "not recorded" if counts.found is None else f"{counts.found:,}"
    return (
        f"Found {found}, without a usable volume {counts.excluded:,}, preprocessed "
        f"{counts.cached:,}, used {counts.used:,} (of {plural(counts.patients, 'patient')}). See "
        "the flow diagram."
    )


def characteristics(material: Material) -> str:  # noqa: ARG001
    """Where they are."""
    return "See Table 1 (table_one) and the table of scans by source and class (cohort)."


def comparison(material: Material) -> str:
    """Where training and test parts are set beside each other."""
    one = len(material.study.cohort.folds) == 1
    return "See Table 1 (table_one)." if one else "By class: see the table of the split (split)."


def parts(material: Material) -> str:
    """Scans of each class in each part."""
    return f"{split(material)} Counts by class: see the table of the split (split)."


def performance(material: Material) -> str:  # noqa: ARG001
    """Where scores are."""
    return "See the tables of scores in the report, each with 95 % intervals."


def failures(material: Material) -> str:  # noqa: ARG001
    """Where mistakes are."""
    return (
        "See the confusion matrices, the misclassified subjects of the leading variant and the "
        "subjects that most networks miss."
    )


def details(material: Material) -> str:
    """Where every choice is written down."""
    name = material.study.config.sweep.name
    return (
        f"Every setting of each run is in its config.yaml, and versions, times and machine in its "
        f"provenance.json (sweep {name})."
    )


def code(material: Material) -> str:
    """Which code ran."""
    return software(material)


def predictors(material: Material) -> str:  # noqa: ARG001
    """The image is the only predictor."""
    return (
        "The only predictor of the networks is the preprocessed scan; no feature was selected "
        "beforehand."
    )


def no_assessor(material: Material) -> str:  # noqa: ARG001
    """No judgement goes into the input."""
    return (
        "Not applicable to the networks: their input is computed from the scan without judgement."
    )


def scaling(material: Material) -> str:
    """How intensities and voxels were scaled."""
    return preprocessing(material)


def clusters(material: Material) -> str:
    """Sources as clusters."""
    return (
        f"{sources(material)} The look-up from source alone shows how far the source gives the "
        "class away."
    )


def imbalance(material: Material) -> str:  # noqa: ARG001
    """Class weights of the loss."""
    return network_text.loss()


def output(material: Material) -> str:
    """Probabilities, and the class chosen."""
    classes = len(material.study.cohort.classes)
    return (
        f"The output is a probability for each of the {classes} classes (softmax); the most "
        "probable class is predicted, and no threshold was tuned."
    )


def differences(material: Material) -> str:
    """Between training and test parts."""
    if material.study.config.data.external is not None:
        return ""
    return (
        "Training and test parts are drawn from one cohort, with the same classes, sources and "
        f"preprocessing. {split(material)}"
    )


def predictions(material: Material) -> str:  # noqa: ARG001
    """How a new scan is predicted."""
    return (
        "Each run keeps its trained network (model.pt); python launch/predict.py --run DIR "
        "scan.nii.gz preprocesses a new scan in the same way and gives its class probabilities."
    )


def bad_input(material: Material) -> str:  # noqa: ARG001
    """What happens to scans that cannot be used."""
    return "Scans that preprocessing cannot use are refused with a reason, not predicted."


Answer = Callable[[Material], str]
ANSWERS: Mapping[str, Answer] = {
    answer.__name__: answer
    for answer in (
        *(technology, goal, sources, exclusions, preprocessing, preparation, subsets, missing),
        *(label, same_label, split, disjoint, sample_size, networks, software, initialisation),
        *(training, selection, ensembling, statistics, robustness, internal, external, flow),
        *(characteristics, comparison, parts, performance, failures, details, code, predictors),
        *(no_assessor, scaling, clusters, imbalance, output, differences, predictions, bad_input),
    )
}
