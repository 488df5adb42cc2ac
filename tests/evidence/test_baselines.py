"""Baselines: each finds what it is made to find and nothing else, and none sees a test label."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stfmri.evidence.baselines import BASELINES, features, fitting_baselines
from stfmri.evidence.baselines.blocks import block_means
from stfmri.evidence.baselines.components import Components, turned
from stfmri.evidence.baselines.features import VolumeFeatures, volume_features
from stfmri.evidence.baselines.fitting import inner_splits
from stfmri.evidence.baselines.intensity import BINS, histogram
from stfmri.evidence.baselines.record import INNER_LOSS, Extractor, Task
from stfmri.evidence.baselines.run import fitting_lookups, lookup_table, task_of
from stfmri.evidence.baselines.shape import extent
from stfmri.evidence.cohort import Cohort
from stfmri.study import predictions
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from stfmri.study.config.sweep import SweepConfig
from stfmri.study.errors import ConfigError
from stfmri.study.shards import (
    CacheError,
    IndexRow,
    Volumes,
    read_index,
    voxel_sha256,
    write_index,
    write_shard,
)
from stfmri.study.splits import Fold, Subject
from tests.evidence.sweeps import PAPER_CLASSES, PAPER_SOURCES, subjects_of
from tests.tiny import damage_volume

SIDE = 16  # voxels
SPACING_MM = 4.0  # so that a block of 8 mm is 2 voxels wide
CLASSES = ("a", "b")
EXTRACTORS = [one for baseline in BASELINES.values() for one in baseline.extractors]
FITTED = [name for name, one in BASELINES.items() if not one.is_lookup]

Volume = NDArray[np.float64]
Maker = Callable[[int, np.random.Generator], Volume]


def brain(*, radius: float = 6.0) -> NDArray[np.bool_]:
    """A ball in the middle of the field."""
    axes = np.ogrid[:SIDE, :SIDE, :SIDE]
    return sum((axis - (SIDE - 1) / 2) ** 2 for axis in axes) <= radius**2


def noise(generator: np.random.Generator) -> Volume:
    return 0.5 + 0.05 * generator.standard_normal((SIDE, SIDE, SIDE))


def told_by_intensity(number: int, generator: np.random.Generator) -> Volume:
    """A chequerboard of this or that contrast, of which no block mean knows."""
    sign = 1 - 2 * (np.indices((SIDE, SIDE, SIDE)).sum(axis=0) % 2)
    inside = np.zeros((SIDE, SIDE, SIDE))
    inside[2:14, 2:14, 2:14] = 1  # of whole blocks
    return (noise(generator) + (0.1 + 0.15 * number) * sign) * inside


def told_by_shape(number: int, generator: np.random.Generator) -> Volume:
    """A small or a large brain of the same intensities."""
    radius = 5.5 + 0.8 * number + 0.2 * generator.random()
    return noise(generator) * brain(radius=radius)


def told_by_place(number: int, generator: np.random.Generator) -> Volume:
    """A bright cube on the left or on the right."""
    volume = noise(generator)
    place = slice(3, 7) if number else slice(9, 13)
    volume[6:10, 6:10, place] += 0.3
    return volume * brain(radius=7)


def told_by_nothing(number: int, generator: np.random.Generator) -> Volume:
    return noise(generator) * brain()


def write_cohort(
    cache: Path, make: Maker, *, count: int = 40, changed: Sequence[int] = ()
) -> list[Subject]:
    """Half the subjects of either class; write their shard and index.

    Args:
        changed: numbers of the subjects whose voxels are drawn otherwise.
    """
    rows, volumes, subjects = [], [], []
    for number in range(count):
        generator = np.random.default_rng((number, number in changed))
        volume = np.clip(make(number % 2, generator), 0, 1).astype(np.float16)
        volume = volume if volume.ndim == 4 else volume[None]
        name, label = f"s{number:03d}", CLASSES[number % 2]
        columns = {
            "label": label,
            "sex": "F" if number % 2 else "M",
            "age": str(20 + generator.integers(60)),
            "site": f"x{generator.integers(3)}",
        }
        sha256 = voxel_sha256(volume)
        rows.append(IndexRow(name, name, "one", "shard-0000.h5", number, name, sha256, columns))
        subjects.append(Subject(name, name, "one", label, sha256, columns))
        volumes.append(volume)
    names = [row.subject_id for row in rows]
    channels = [f"contrast{number}" for number in range(len(volumes[0]))]
    affines = np.repeat(np.diag([SPACING_MM] * 3 + [1.0])[None], count, axis=0)
    cache.mkdir(parents=True, exist_ok=True)
    write_shard(cache / "shard-0000.h5", np.stack(volumes), affines, names, names, channels, "")
    write_index(cache, rows)
    return subjects


def task(
    subjects: Sequence[Subject],
    found: VolumeFeatures | None,
    covariates: tuple[str, ...] = ("age", "site"),
    test: int = 16,
) -> Task:
    return Task(subjects[test:], subjects[:test], CLASSES, 0, covariates, found)


def accuracy(name: str, of: Task) -> float:
    found = BASELINES[name].predict(of).probability_NK.argmax(axis=1)
    return float(np.mean([CLASSES[n] == s.label for n, s in zip(found, of.test, strict=True)]))


@pytest.mark.parametrize(
    ("make", "covariates", "seen_by", "unseen_by"),
    [
        (told_by_intensity, ("age", "site"), "intensity", ("shape", "voxels", "covariates")),
        # Block means hold the outline, too.
        (told_by_shape, ("age", "site"), "shape", ("intensity", "covariates")),
        (told_by_place, ("age", "site"), "voxels", ("intensity", "shape", "covariates")),
        (told_by_nothing, ("age", "sex"), "covariates", ("intensity", "shape", "voxels")),
    ],
    ids=["intensity", "shape", "place", "covariates"],
)
def test_a_class_is_found_by_the_baseline_that_is_made_to_find_it_and_by_no_other(
    make: Maker, covariates: tuple[str, ...], seen_by: str, unseen_by: Sequence[str], tmp_path: Path
) -> None:
    subjects = write_cohort(tmp_path, make, count=80)
    found = volume_features(tmp_path, SPACING_MM, subjects, EXTRACTORS)
    fold = task(subjects, found, covariates, test=32)
    assert accuracy(seen_by, fold) >= 0.95
    for name in (*unseen_by, "shuffled"):
        assert 0.2 <= accuracy(name, fold) <= 0.8, name


@pytest.fixture(scope="module")
def easy(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Subject], VolumeFeatures]:
    """Subjects whom the brain's size tells apart, so that most baselines have something to find."""
    cache = tmp_path_factory.mktemp("easy")
    subjects = write_cohort(cache, told_by_shape)
    return subjects, volume_features(cache, SPACING_MM, subjects, EXTRACTORS)


@pytest.mark.parametrize("name", BASELINES)
def test_no_test_label_reaches_a_prediction(
    name: str, easy: tuple[list[Subject], VolumeFeatures]
) -> None:
    fold = task(*easy, ("sex", "age"))
    blind = replace(fold, test=[replace(subject, label="b") for subject in fold.test])
    honest, without = (BASELINES[name].predict(one).probability_NK for one in (fold, blind))
    assert np.array_equal(honest, without)


@pytest.mark.parametrize("name", BASELINES)
def test_the_order_of_subjects_changes_nothing(
    name: str, easy: tuple[list[Subject], VolumeFeatures]
) -> None:
    fold = task(*easy, ("sex", "age", "site"))
    mixed = replace(fold, train=fold.train[::-1], test=fold.test[::-1])
    straight, reversed_ = (BASELINES[name].predict(one).probability_NK for one in (fold, mixed))
    assert straight == pytest.approx(reversed_[::-1], abs=1e-12)


@pytest.mark.parametrize("name", FITTED)
def test_probabilities_sum_to_one_and_a_class_that_training_lacks_has_none(
    name: str, easy: tuple[list[Subject], VolumeFeatures]
) -> None:
    fold = replace(task(*easy), classes=("a", "absent", "b"))
    fitted = BASELINES[name].predict(fold)
    assert fitted.probability_NK.sum(axis=1) == pytest.approx(1)
    assert (fitted.probability_NK[:, 1] == 0).all()
    assert fitted.facts["inner_folds"] == 5
    assert isinstance(fitted.facts[INNER_LOSS], float)
    assert "C" in fitted.facts["hyper_parameters"]


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("labels", ["aaaabb", "aaab", "ab", "aa"])
def test_tiny_training_parts_are_predicted_from_without_a_warning(
    name: str, labels: str, easy: tuple[list[Subject], VolumeFeatures]
) -> None:
    subjects, found = easy
    of_class = {label: [s for s in subjects[16:] if s.label == label] for label in CLASSES}
    train = [of_class[label].pop() for label in labels]
    fitted = BASELINES[name].predict(replace(task(subjects, found), train=train))
    assert fitted.probability_NK.shape == (16, 2)
    assert fitted.probability_NK.sum(axis=1) == pytest.approx(1)


def test_inner_folds_keep_patients_and_equal_volumes_together() -> None:
    subjects = [
        Subject(f"s{n}", f"p{n // 3}", "x", CLASSES[n // 3 % 2], "same" if n in (0, 59) else f"{n}")
        for n in range(60)
    ]
    code = np.array([CLASSES.index(subject.label) for subject in subjects])
    splits = inner_splits(subjects, code, seed=0)
    assert len(splits) == 5
    for train, val in splits:
        for key in ("patient_id", "sha256"):
            sides = [{getattr(subjects[n], key) for n in side} for side in (train, val)]
            assert not sides[0] & sides[1]
    assert sorted(n for _, val in splits for n in val) == list(range(60))


def test_a_class_with_one_patient_leaves_nothing_to_choose_by() -> None:
    subjects = [Subject(f"s{n}", "p" if n < 5 else f"s{n}", "x", "", f"{n}") for n in range(20)]
    assert inner_splits(subjects, np.array([0] * 5 + [1] * 15), seed=0) == []


def test_the_control_says_which_baseline_it_shuffled(
    easy: tuple[list[Subject], VolumeFeatures],
) -> None:
    facts = BASELINES["shuffled"].predict(task(*easy)).facts
    assert facts["baseline"] in ("intensity", "shape", "voxels")
    assert BASELINES["shuffled"].is_control
    # Nothing is to be had from labels that mean nothing: no better than a coin.
    assert float(str(facts[INNER_LOSS])) > 0.6


# --- several contrasts ------------------------------------------------------------------------


def told_by_the_second_channel(number: int, generator: np.random.Generator) -> Volume:
    """Of two contrasts, one tells the class by its brightness; every fifth brain lacks it."""
    first, second = noise(generator) * brain(), noise(generator) * brain()
    lacks = generator.random() < 0.2
    return np.stack([first, 0 * second if lacks else second * (0.8 + 0.3 * number)])


@pytest.fixture(scope="module")
def two_channels(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[Subject], VolumeFeatures, NDArray[np.float64]]:
    cache = tmp_path_factory.mktemp("two")
    subjects = write_cohort(cache, told_by_the_second_channel)
    volumes = Volumes(cache, read_index(cache))
    stored = np.stack([volumes[subject.subject_id] for subject in subjects]).astype(np.float64)
    assert 0 < sum(not volume[1].any() for volume in stored) < len(stored)
    return subjects, volume_features(cache, SPACING_MM, subjects, EXTRACTORS), stored


def histograms(volumes_NCDHW: NDArray[np.float64]) -> NDArray[np.float64]:
    """By hand: shares of brain voxels in 64 bins, channel after channel."""
    rows = []
    for volume in volumes_NCDHW:
        counts = [np.histogram(c[c > 0], bins=64, range=(0, 1))[0] for c in volume]
        rows.append(np.concatenate([one / max(1, one.sum()) for one in counts]))
    return np.array(rows)


def coarse(volumes_NCDHW: NDArray[np.float64]) -> NDArray[np.float64]:
    """By hand: means over blocks of 2³ voxels, channel after channel."""
    half = SIDE // 2
    blocks = volumes_NCDHW.reshape(len(volumes_NCDHW), 2, half, 2, half, 2, half, 2)
    return blocks.mean(axis=(3, 5, 7)).reshape(len(volumes_NCDHW), -1)


@pytest.mark.parametrize(("name", "by_hand"), [("intensity", histograms), ("voxels", coarse)])
def test_of_two_channels_a_baseline_is_scikit_learns_model_of_both(
    name: str,
    by_hand: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    two_channels: tuple[list[Subject], VolumeFeatures, NDArray[np.float64]],
) -> None:
    subjects, found, volumes = two_channels
    fold = task(subjects, found)
    fitted = BASELINES[name].predict(fold)
    rows = by_hand(volumes)
    chosen = fitted.facts["hyper_parameters"]
    preparation = (
        PCA(chosen["count"], whiten=True, svd_solver="full")
        if name == "voxels"
        else StandardScaler()
    )
    model = make_pipeline(
        preparation, LogisticRegression(C=chosen["C"], class_weight="balanced", max_iter=10_000)
    )
    labels = [subject.label for subject in subjects]
    expected = model.fit(rows[16:], labels[16:]).predict_proba(rows[:16])
    assert fitted.probability_NK == pytest.approx(expected, abs=1e-3)
    assert fitted.facts["features"] in (rows.shape[1], len(rows) - 16)


@pytest.mark.parametrize("name", FITTED)
def test_a_channel_of_zeros_spoils_no_baseline(
    name: str, two_channels: tuple[list[Subject], VolumeFeatures, NDArray[np.float64]]
) -> None:
    subjects, found, _ = two_channels
    probability_NK = BASELINES[name].predict(task(subjects, found)).probability_NK
    assert np.isfinite(probability_NK).all()
    assert probability_NK.sum(axis=1) == pytest.approx(1)
    for extractor in EXTRACTORS:
        assert np.isfinite(found.rows(extractor.name, subjects)).all()


def test_the_mask_is_where_any_channel_is_above_zero(
    two_channels: tuple[list[Subject], VolumeFeatures, NDArray[np.float64]],
) -> None:
    subjects, found, volumes = two_channels
    millilitres = (volumes > 0).any(axis=1).sum(axis=(1, 2, 3)) * SPACING_MM**3 / 1000
    assert found.rows("extent", subjects)[:, 0] == pytest.approx(millilitres, rel=1e-6)


# --- features ---------------------------------------------------------------------------------


def counted(calls: list[int], version: int = 1) -> Extractor:
    def mean(volume_CDHW: NDArray[np.float32], spacing_mm: float) -> NDArray[np.float32]:
        calls.append(1)
        return volume_CDHW.mean(axis=(1, 2, 3)) * version

    return Extractor("mean", version, mean)


def test_features_are_extracted_once_and_again_for_volumes_that_are_new_or_changed(
    tmp_path: Path,
) -> None:
    calls: list[int] = []
    subjects = write_cohort(tmp_path, told_by_nothing, count=6)
    first = volume_features(tmp_path, SPACING_MM, subjects, [counted(calls)])
    again = volume_features(tmp_path, SPACING_MM, subjects, [counted(calls)])
    assert len(calls) == 6
    assert np.array_equal(first.rows("mean", subjects), again.rows("mean", subjects))
    assert first.rows("mean", subjects[::-1]).dtype == np.float64
    assert np.array_equal(first.rows("mean", subjects[::-1])[::-1], again.rows("mean", subjects))

    grown = write_cohort(tmp_path, told_by_nothing, count=8, changed=[2])
    found = volume_features(tmp_path, SPACING_MM, grown, [counted(calls)]).rows("mean", grown)
    assert len(calls) == 6 + 3
    same = [n for n in range(6) if n != 2]
    assert np.array_equal(found[same], first.rows("mean", subjects)[same])
    assert found[2] != first.rows("mean", subjects)[2]
    # Of a new version everything is extracted, and another kind is no loss to the first.
    newer = volume_features(tmp_path, SPACING_MM, grown, [counted(calls, version=2)])
    assert len(calls) == 9 + 8
    assert newer.rows("mean", grown) == pytest.approx(2 * found, rel=1e-6)
    volume_features(tmp_path, SPACING_MM, grown, [counted(calls), *EXTRACTORS])
    assert len(calls) == 17


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other", "pickle"])
def test_a_damaged_file_of_features_is_written_anew(damage: str, tmp_path: Path) -> None:
    calls: list[int] = []
    subjects = write_cohort(tmp_path, told_by_nothing, count=4)
    before = volume_features(tmp_path, SPACING_MM, subjects, [counted(calls)])
    file = tmp_path / features.FOLDER / features.FILE_NAME
    content = file.read_bytes()
    row = before.rows("mean", subjects[:1]).astype(np.float32).tobytes()
    if damage == "pickle":
        np.savez(file, **{"mean-1": np.array([{}]), "mean-1.sha256": np.array(["x"])})
    else:
        file.write_bytes(
            {
                "empty": b"",
                "cut": content[: len(content) // 2],
                "flipped": content.replace(row, bytes(len(row))),
                "other": b"no archive",
            }[damage]
        )
    after = volume_features(tmp_path, SPACING_MM, subjects, [counted(calls)])
    assert len(calls) == 8
    assert np.array_equal(before.rows("mean", subjects), after.rows("mean", subjects))
    volume_features(tmp_path, SPACING_MM, subjects, [counted(calls)])
    assert len(calls) == 8


def test_processes_that_need_the_same_features_extract_them_once(tmp_path: Path) -> None:
    subjects = write_cohort(tmp_path, told_by_nothing, count=12)
    script = (
        "import sys, pathlib; from tests.evidence.test_baselines import *; "
        "from stfmri.study.shards import read_index; from stfmri.study.splits import subjects_of; "
        "cache = pathlib.Path(sys.argv[1]); calls = []; "
        "subjects = subjects_of(read_index(cache), 'label', cache); "
        "volume_features(cache, 4.0, subjects, [counted(calls)]); print(len(calls))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    told = [int(process.communicate()[0]) for process in processes]
    assert sorted(told) == [0, 12]
    assert len(volume_features(tmp_path, 4.0, subjects, [counted([])]).rows("mean", subjects)) == 12


def test_a_histogram_holds_the_shares_of_the_brains_voxels_channel_by_channel() -> None:
    volume = np.zeros((3, 2, 2, 2), np.float32)
    volume[0, 0] = [[0.1, 0.1], [0.1, 1.0]]
    volume[1, 0, 0, 0] = 0.5
    row = histogram(volume, 2.0).reshape(3, BINS)
    assert row.sum(axis=1).tolist() == [1, 1, 0]
    assert row[0, int(0.1 * BINS)] == 0.75
    assert row[0, -1] == 0.25


def test_extents_are_those_of_a_box_in_millimetres() -> None:
    volume = np.zeros((2, 10, 12, 14), np.float32)
    volume[0, 2:6, 3:8, 1:7] = 0.5
    # Volume in ml, then extents, then the centre from the field's edge.
    box = [4 * 5 * 6 * 8 / 1000, 8, 10, 12, 8, 11, 8]
    assert extent(volume, 2.0) == pytest.approx(np.array(box))
    assert (extent(np.zeros((1, 4, 4, 4), np.float32), 2.0) == 0).all()


@pytest.mark.parametrize("shape", [(1, 8, 8, 8), (2, 7, 9, 5)])
def test_block_means_are_those_of_a_loop_over_blocks(shape: tuple[int, ...]) -> None:
    volume = np.random.default_rng(0).random(shape, dtype=np.float32)
    expected = [
        volume[c, d : d + 4, h : h + 4, w : w + 4].sum() / 64
        for c in range(shape[0])
        for d in range(0, shape[1], 4)
        for h in range(0, shape[2], 4)
        for w in range(0, shape[3], 4)
    ]
    assert block_means(volume, 2.0) == pytest.approx(np.array(expected), rel=1e-5)
    assert block_means(volume, 10.0) == pytest.approx(volume.ravel())


def test_components_of_turned_rows_are_scikit_learns_of_the_rows_themselves() -> None:
    generator = np.random.default_rng(0)
    train, test = (generator.standard_normal((count, 300)) for count in (20, 5))
    ours = turned(train, test)
    assert ours[0].shape == (20, 20)
    components = Components(4).fit(ours[0])
    peer = PCA(4, whiten=True, svd_solver="full").fit(train)
    for mine, rows in zip(ours, (train, test), strict=True):
        theirs = peer.transform(rows)
        assert np.abs(components.transform(mine)) == pytest.approx(np.abs(theirs), abs=1e-9)


def test_where_nothing_varies_there_is_one_component_of_zeros() -> None:
    rows = np.full((6, 3), 0.3)
    assert Components(2).fit(rows).transform(rows).tolist() == [[0.0]] * 6
    two = np.repeat([[0.1, 0.2, 0.3], [0.3, 0.1, 0.1]], 3, axis=0)
    assert Components(3).fit(two).transform(two).shape == (6, 1)


# --- covariates -------------------------------------------------------------------------------


def person(number: int, label: str, **columns: str) -> Subject:
    name = f"s{number:03d}"
    return Subject(name, name, "x", label, name, {"label": label, **columns})


def predicted(train: Sequence[Subject], test: Sequence[Subject], *names: str) -> np.ndarray:
    return BASELINES["covariates"].predict(Task(train, test, CLASSES, 0, names)).probability_NK


def test_missing_values_are_filled_in_and_their_being_missing_may_itself_tell_the_class() -> None:
    people = [
        person(n, CLASSES[n % 2], age="n/a" if n % 2 else str(40 + n % 7), empty="")
        for n in range(40)
    ]
    found = predicted(people[:30], people[30:], "age", "empty")
    assert [CLASSES[n] for n in found.argmax(axis=1)] == [one.label for one in people[30:]]


def test_words_and_missing_numbers_that_training_never_saw_are_no_error() -> None:
    people = [person(n, CLASSES[n % 2], age=str(n % 2 * 50 + n % 5), site="x") for n in range(30)]
    strange = [person(90, "a", age="", site="y"), person(91, "a", age="old", site="")]
    assert predicted(people, strange, "age", "site").sum(axis=1) == pytest.approx(1)


def test_covariates_fit_no_cohort_without_named_columns() -> None:
    people = [person(0, "a", age="1"), person(1, "b", age="2")]
    config = Config(sweep=SweepConfig(baselines=("covariates", "voxels")))
    assert fitting_baselines(config, people) == ("voxels",)
    named = replace(config, data=DataConfig(covariates=("age",)))
    assert fitting_baselines(named, people) == ("covariates", "voxels")
    assert fitting_baselines(named, []) == ("covariates", "voxels")
    unknown = replace(config, data=DataConfig(covariates=("height",)))
    with pytest.raises(ConfigError, match=r"height, which the cohort table does not have.*age"):
        fitting_baselines(unknown, people)


def test_a_column_of_a_chosen_contrasts_files_is_no_covariate_and_path_stage_is_one() -> None:
    people = [person(0, "a", path_stage="II"), person(1, "b", path_stage="IV")]
    data = DataConfig(contrasts=("t1", "flair"), covariates=("path_stage",))
    config = Config(sweep=SweepConfig(baselines=("covariates",)), data=data)
    assert fitting_baselines(config, people) == ("covariates",)
    file = replace(config, data=replace(data, covariates=("path_flair",)))
    with pytest.raises(ConfigError, match="names path_flair, which is a file; leave it out"):
        fitting_baselines(file, people)
    # Without a choice the one contrast of a table without `path` is the scan.
    file = replace(config, data=DataConfig(covariates=("path_t1",)))
    with pytest.raises(ConfigError, match="names path_t1, which is a file; leave it out"):
        fitting_baselines(file, [person(0, "a", path_t1="a.nii"), person(1, "b", path_t1="b.nii")])


# --- look-ups ---------------------------------------------------------------------------------


def cohort_of(subjects: list[Subject], train: Sequence[str], test: Sequence[str]) -> Cohort:
    by_id = {subject.subject_id: subject for subject in subjects}
    return Cohort(PAPER_CLASSES, by_id, (Fold(tuple(train), (), tuple(test)),))


def from_source(name: str, source: str, label: str) -> Subject:
    return Subject(name, name, source, label, name)


def test_on_the_papers_cohort_the_source_alone_is_right_for_98_3_percent() -> None:
    subjects = subjects_of(PAPER_SOURCES)
    everyone = [item.subject_id for item in subjects]
    # Fitted on the very scans it is scored on.
    cohort = cohort_of(subjects, everyone, everyone)
    majority, source = fitting_lookups(Config(), cohort)
    table, _ = lookup_table(source, Config(), cohort, 0)
    assert np.mean([row.label == row.prediction for row in table.rows]) == pytest.approx(
        0.983, abs=5e-4
    )
    predictions.validate(table, PAPER_CLASSES, 0, everyone)
    table, _ = lookup_table(majority, Config(), cohort, 0)
    assert table.rows[0].probabilities == pytest.approx((73 / 591, 259 / 591, 259 / 591))
    predictions.validate(table, PAPER_CLASSES, 0, everyone)


@pytest.mark.parametrize(
    ("source", "expected", "unseen"),
    [
        ("BraTS-CBICA", (0.0, 1.0, 0.0), 0),
        ("BraTS-TCIA99", (1 / 3, 2 / 3, 0.0), 1),  # its study: one LGG and two HGG
        ("OASIS-1", (0.2, 0.4, 0.4), 1),  # nobody alike: the whole training part
        ("BraTS", (1 / 3, 2 / 3, 0.0), 1),
        ("Bra", (0.2, 0.4, 0.4), 1),
    ],
)
def test_an_unseen_source_falls_back_to_its_study_and_then_to_everybody(
    source: str, expected: tuple[float, ...], unseen: int
) -> None:
    train = [
        from_source("1", "BraTS-TCIA10", "LGG"),
        from_source("2", "BraTS-CBICA", "HGG"),
        from_source("3", "BraTS-CBICA", "HGG"),
        from_source("4", "IXI-HH", "Healthy"),
        from_source("5", "IXI-HH", "Healthy"),
    ]
    test = from_source("6", source, "Healthy")
    cohort = cohort_of([*train, test], "12345", "6")
    table, fitted = lookup_table(BASELINES["source_only"], Config(), cohort, 0)
    assert table.rows[0].probabilities == pytest.approx(expected)
    assert fitted.facts["test_scans_of_unseen_source"] == unseen


def test_with_one_source_there_is_no_look_up_from_source() -> None:
    subjects = [from_source(str(n), "here", PAPER_CLASSES[n % 3]) for n in range(6)]
    cohort = cohort_of(subjects, "012", "345")
    assert [one.name for one in fitting_lookups(Config(), cohort)] == ["majority"]


# --- the registry -----------------------------------------------------------------------------


def test_the_registry_is_read_without_any_heavy_library() -> None:
    script = (
        "import sys, stfmri.evidence.baselines; "
        "print(sorted({'sklearn', 'h5py', 'matplotlib', 'torch', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"


def test_every_record_says_in_words_what_it_is() -> None:
    for name, one in BASELINES.items():
        assert one.name == name
        assert one.label[0].isupper()
        assert one.meaning.endswith(".")
        assert not one.phrase.endswith(".")
        assert one.sees_images == bool(one.extractors)
    assert set(SweepConfig().baselines) == set(FITTED)


def test_a_baseline_trains_on_the_training_part_alone(
    easy: tuple[list[Subject], VolumeFeatures],
) -> None:
    subjects, found = easy
    by_id: Mapping[str, Subject] = {subject.subject_id: subject for subject in subjects}
    ids = tuple(by_id)
    cohort = Cohort(CLASSES, by_id, (Fold(ids[20:], ids[10:20], ids[:10]),))
    fold = task_of(Config(), cohort, 0, found)
    assert [subject.subject_id for subject in fold.train] == list(ids[20:])
    assert [subject.subject_id for subject in fold.test] == list(ids[:10])


def test_features_of_a_damaged_volume_are_refused_naming_it(tmp_path: Path) -> None:
    subjects = write_cohort(tmp_path, told_by_nothing, count=6)
    damage_volume(tmp_path, 4, b"\x01")
    with pytest.raises(CacheError, match=r"is damaged: the volume of .* \(row 4\)"):
        volume_features(tmp_path, SPACING_MM, subjects, [counted([])])
    assert not (tmp_path / "features" / "features.npz").exists()
