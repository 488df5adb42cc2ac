"""Variants that were trained with several seeds: their mean, their ensemble, what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stfmri import collect
from stfmri.evidence import metrics, score_tables
from stfmri.evidence.collecting import collect_evidence
from stfmri.evidence.estimates import Results, Summary
from stfmri.evidence.seeds import complete_seeds
from stfmri.evidence.sentences import headline
from stfmri.evidence.summarise import summarise
from stfmri.evidence.summary_json import as_json
from stfmri.study import predictions
from stfmri.study.runs import Sweep
from tests.evidence.sweeps import make_sweep

SEEDS = (0, 1, 5)
ONE = {"r3d_18-scratch": 0.8}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return make_sweep(tmp_path_factory.mktemp("seeds"), seeds=SEEDS)


@pytest.fixture(scope="module")
def results(sweep: Sweep) -> Results:
    return summarise(collect_evidence(sweep))


def tables_of(sweep: Sweep, variant: str, fold: int) -> list[predictions.PredictionTable]:
    return [
        predictions.read(run.folder / "predictions.csv")
        for run in sweep.runs
        if (run.variant, run.fold) == (variant, fold)
    ]


def test_the_ensemble_says_the_mean_of_what_its_seeds_say(sweep: Sweep, results: Results) -> None:
    variant, ensemble = results.evidence.variants[:2]
    assert ensemble.label == "ResNet3D, mean of 3 seeds"
    assert (ensemble.name, ensemble.trainings, ensemble.seeds) == (
        "r3d_18-scratch+ensemble",
        3,
        SEEDS,
    )
    for fold in range(3):
        tables = tables_of(sweep, variant.name, fold)
        by_subject = [{row.subject_id: row.probabilities for row in t.rows} for t in tables]
        rows = ensemble.fold_N == fold
        for subject, found in zip(
            ensemble.subject_N[rows], ensemble.probability_NK[rows], strict=True
        ):
            name = results.evidence.cohort.tested[subject]
            np.testing.assert_allclose(found, np.mean([t[name] for t in by_subject], axis=0))


def test_a_score_is_the_mean_over_seeds_and_its_spreads_are_those_of_numpy(
    sweep: Sweep, results: Results
) -> None:
    entry = as_json(results)["variants"]["r3d_18-scratch"]
    variant = results.evidence.variants[0]
    scores = np.array(
        [[metrics.macro_f1(counts) for counts in one.fold_confusions] for one in variant.members]
    )
    assert entry["seeds"] == [0, 1, 5]
    assert entry["folds"] == 3
    found = entry["macro_f1"]
    assert found["mean"] == pytest.approx(scores.mean())
    assert found["sd"] == pytest.approx(scores.mean(axis=0).std(ddof=1))
    within = np.sqrt(scores.var(axis=0, ddof=1).mean())
    assert entry["sd_over_seeds"] == found["sd_over_seeds"] == pytest.approx(within)
    pooled = [metrics.macro_f1(one.pooled) for one in variant.members]
    assert found["pooled"] == pytest.approx(np.mean(pooled))
    auc = [metrics.by_name("macro_auc").of_scores(one.scores) for one in variant.members]
    assert entry["macro_auc"]["pooled"] == pytest.approx(np.mean(auc))


def test_seeds_that_are_identical_give_the_intervals_of_one(tmp_path: Path) -> None:
    # The ensemble's place is taken by a twin, so that as many are drawn for.
    both = {**ONE, "r3d_18-kinetics": 0.8}
    plain = make_sweep(tmp_path / "one", accuracies=both)
    for run in plain.runs[3:]:
        twin = plain.folder / "r3d_18-scratch" / f"fold{run.fold}" / "predictions.csv"
        (run.folder / "predictions.csv").write_bytes(twin.read_bytes())
    several = make_sweep(tmp_path / "three", accuracies=ONE, seeds=SEEDS)
    for run in several.runs:
        twin = plain.folder / run.variant / f"fold{run.fold}" / "predictions.csv"
        (run.folder / "predictions.csv").write_bytes(twin.read_bytes())
    once = as_json(summarise(collect_evidence(plain)))
    thrice = as_json(summarise(collect_evidence(several)))
    one, _ = once["variants"].values()
    mean, _ = thrice["variants"].values()
    for metric in metrics.overall():
        for key in ("mean", "sd", "pooled", "ci95", "ci95_procedure"):
            expected = np.array(one[metric.name][key], dtype=float)
            np.testing.assert_allclose(
                np.array(mean[metric.name][key], dtype=float), expected, rtol=1e-5, atol=1e-9
            )
    assert mean["sd_over_seeds"] == pytest.approx(0, abs=1e-12)


def test_seeds_do_not_narrow_the_interval_for_new_patients(results: Results) -> None:
    variant = results.variants[0]
    seeds = [_alone(results, number).primary for number in range(len(SEEDS))]
    alone = [one.high - one.low for one in seeds]
    assert variant.primary.high - variant.primary.low > 0.9 * np.mean(alone)


def _alone(results: Results, number: int) -> Summary:
    member = results.evidence.variants[0].members[number]
    evidence = replace(results.evidence, variants=(member,), baselines=())
    return summarise(evidence).variants[0]


def test_the_ensemble_is_one_more_variant_of_the_family(results: Results) -> None:
    names = [summary.predicted.name for summary in results.variants]
    assert len(names) == 4
    pairs = [item for item in results.comparisons if item.family == "variants"]
    assert len(pairs) == 6
    assert results.selection is not None
    assert results.selection.candidates == 4
    assert set(results.chance) >= set(names)
    assert results.leader is not None
    if results.leader.predicted.is_ensemble:
        assert "3 times the training" in headline(results)[0]


def test_folds_and_seeds_stand_apart_in_the_tables(results: Results) -> None:
    tables = {table.name: table for table in score_tables.all_tables(results)}
    assert [row.cells[1] for row in tables["seeds"].rows] == ["0, 1 and 5"] * 2
    scores = tables["scores"]
    assert [column.name for column in scores.columns[:4]] == [
        "Variant",
        "Cost",
        "Macro F1",
        "SD over seeds",
    ]
    assert [row.cells[1] for row in scores.rows[:4]] == ["1 ×", "3 ×", "1 ×", "3 ×"]


def test_a_sweep_of_one_training_has_no_table_of_seeds(tmp_path: Path) -> None:
    results = summarise(collect_evidence(make_sweep(tmp_path, accuracies=ONE)))
    assert "seeds" not in {table.name for table in score_tables.all_tables(results)}
    entry = as_json(results)["variants"]["r3d_18-scratch"]
    assert (entry["seeds"], entry["trainings"], entry["sd_over_seeds"]) == ([], 1, None)


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ({0: "abc", 1: "abc"}, {0: "abc", 1: "abc"}),
        ({0: "ab", 1: "abc", 2: "abc"}, {1: "abc", 2: "abc"}),
        ({0: "ab", 1: "bc", 2: "bc"}, {1: "bc", 2: "bc"}),
        ({0: "a", 1: "abc"}, {1: "abc"}),
    ],
)
def test_seeds_are_averaged_where_they_have_the_same_folds(
    found: dict[int, str], kept: dict[int, str]
) -> None:
    folds = {seed: {"abc".index(name): name for name in names} for seed, names in found.items()}
    complete = complete_seeds(folds)
    assert {seed: "".join(names.values()) for seed, names in complete.items()} == kept


def test_an_incomplete_seed_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep(tmp_path, accuracies=ONE, seeds=SEEDS)
    (sweep.folder / "r3d_18-scratch/seed1/fold2/predictions.csv").unlink()
    arguments = ["--sweep", "full", "--root", str(tmp_path)]
    assert collect.main(arguments) == 1
    assert collect.main([*arguments, "--allow-partial"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "r3d_18-scratch/seed1/fold2: no predictions" in said
    assert "seed 1 of three lacks folds" in said
    content = json.loads((tmp_path / "results/full/summary.json").read_text(encoding="utf-8"))
    assert content["variants"]["r3d_18-scratch"]["seeds"] == [0, 5]
    assert content["variants"]["r3d_18-scratch+ensemble"]["trainings"] == 2
    page = (tmp_path / "results/full/report.html").read_text(encoding="utf-8")
    assert "seed 1 of three" in page
