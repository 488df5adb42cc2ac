"""Summaries, tables, figures and the report of small sweeps."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from stfmri.evidence import list_tables, metrics, report, score_tables
from stfmri.evidence.collecting import collect_evidence
from stfmri.evidence.estimates import ChanceTest, Results
from stfmri.evidence.sentences import headline
from stfmri.evidence.statements import statistics_used
from stfmri.evidence.statistics import double_use, wilson
from stfmri.evidence.summarise import summarise
from stfmri.evidence.summary_json import as_json
from stfmri.evidence.tables import (
    Column,
    Interval,
    Row,
    Score,
    Table,
    to_csv,
    to_latex,
    to_markdown,
)
from stfmri.study import predictions
from stfmri.study.runs import Sweep
from stfmri.study.splits import Subject
from tests.evidence import sweeps
from tests.evidence.sweeps import PAPER_SOURCES, make_sweep


def results_of(sweep: Sweep) -> Results:
    return summarise(collect_evidence(sweep))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return make_sweep(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def results(sweep: Sweep) -> Results:
    return results_of(sweep)


def test_the_mean_over_folds_equals_scikit_learns_fold_by_fold(
    sweep: Sweep, results: Results
) -> None:
    content = as_json(results)
    for variant in ("r3d_18-scratch", "r3d_18-kinetics"):
        scores = []
        for run in sweep.runs:
            if run.variant == variant:
                rows = predictions.read(run.folder / "predictions.csv").rows
                labels, guesses = [r.label for r in rows], [r.prediction for r in rows]
                scores.append(reference.f1_score(labels, guesses, average="macro"))
        found = content["variants"][variant]["macro_f1"]
        assert found["mean"] == pytest.approx(np.mean(scores), abs=1e-12)
        assert found["sd"] == pytest.approx(np.std(scores, ddof=1), abs=1e-12)
        assert found["ci95"][0] < found["pooled"] < found["ci95"][1]


def test_the_summary_has_the_promised_shape_and_no_nan(results: Results) -> None:
    content = json.loads(json.dumps(as_json(results), allow_nan=False))
    assert content["sweep"] == "full"
    assert content["complete"] is True
    assert content["missing"] == []
    assert list(content["baselines"]) == ["majority", "source_only"]
    entry = content["variants"]["r3d_18-scratch"]
    assert entry["folds"] == 3
    assert np.sum(entry["confusion_per_fold"], axis=0).tolist() == entry["confusion"]
    assert set(entry["per_class"]["LGG"]) == {metric.name for metric in metrics.per_class()}
    for metric in metrics.overall():
        keys = {"mean", "sd", "sd_over_seeds", "ci95", "ci95_procedure", "pooled"}
        assert keys == set(entry[metric.name])
    # The majority class is never LGG here, so the precision of LGG is 0/0 in every fold.
    never = content["baselines"]["majority"]["per_class"]["LGG"]["precision"]
    assert never["mean"] is None
    assert never["ci95"] == [None, None]


def test_subjects_and_folds_hold_the_same_counts(results: Results) -> None:
    tested = len(results.evidence.cohort.tested)
    for predicted in [*results.evidence.variants, *results.evidence.baselines]:
        by_subject = predicted.confusions_by(predicted.subject_N, tested)
        np.testing.assert_array_equal(by_subject.sum(axis=0), predicted.pooled)


def test_equal_variants_are_not_told_apart_and_their_interval_has_a_width(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    for run in sweep.runs:
        if run.weights == "kinetics":
            twin = sweep.folder / "r3d_18-scratch" / f"fold{run.fold}" / "predictions.csv"
            (run.folder / "predictions.csv").write_bytes(twin.read_bytes())
    found = as_json(results_of(sweep))["comparisons"][0]
    assert found["difference"] == 0.0
    assert found["low"] < 0.0 < found["high"]
    assert (found["t_test_p"], found["auc_p"]) == (1.0, 1.0)


def test_one_fold_has_no_standard_deviation(tmp_path: Path) -> None:
    found = as_json(results_of(make_sweep(tmp_path, folds=1)))
    assert found["variants"]["r3d_18-scratch"]["macro_f1"]["sd"] is None
    assert found["variants"]["r3d_18-scratch"]["macro_f1"]["ci95_procedure"] == [None, None]
    assert found["comparisons"][0]["t_test_p"] is None
    assert found["comparisons"][0]["of_procedure"] is False


def test_the_chance_test_allows_for_patients_who_teach_each_others_network(tmp_path: Path) -> None:
    folds = results_of(make_sweep(tmp_path / "folds", folds=3))
    cohort = folds.evidence.cohort
    patients = [{cohort.subjects[name].patient_id for name in fold.test} for fold in cohort.folds]
    everybody = sorted(set.union(*patients))
    tested = np.array([[one in fold for one in everybody] for fold in patients])
    [widened] = {test.widened for test in folds.chance.values()}
    assert widened == pytest.approx(math.sqrt(double_use(tested)))
    assert widened > 1.1
    assert "drawn away from their mean" in " ".join(statistics_used(folds))
    once = results_of(make_sweep(tmp_path / "once", folds=1))
    assert {test.widened for test in once.chance.values()} == {1.0}
    assert "drawn away" not in " ".join(statistics_used(once))


@pytest.mark.parametrize(("low", "said"), [(0.55, True), (0.52, False), (0.48, False)])
def test_an_auc_is_called_above_chance_where_its_lower_end_is_when_widened(
    low: float, said: bool, results: Results
) -> None:
    leader = results.leader
    assert leader is not None
    # 0.6 - √2 × (0.6 - 0.52) is below one half.
    auc = replace(leader.overall["macro_auc"], mean=0.6, low=low, high=0.7)
    variants = [
        replace(one, overall={**one.overall, "macro_auc": auc}) if one is leader else one
        for one in results.variants
    ]
    chance = {name: ChanceTest(0.5, 0.3, math.sqrt(2)) for name in results.chance}
    changed = replace(results, variants=tuple(variants), chance=chance)
    assert ("do rank the classes" in " ".join(headline(changed))) is said


@pytest.mark.parametrize(("p", "said"), [(0.3, "as it must be"), (0.01, "Warning: ")])
def test_what_the_control_scores_is_said_and_a_warning_where_it_beats_chance(
    p: float, said: str, results: Results
) -> None:
    name = results.baselines[0].predicted.name
    kinds = {**results.evidence.kinds}
    kinds[name] = replace(kinds[name], is_control=True)
    chance = {**results.chance, name: ChanceTest(0.3, p)}
    changed = replace(results, evidence=replace(results.evidence, kinds=kinds), chance=chance)
    told = " ".join(headline(changed))
    assert said in told
    assert f"p = {p:.3f}" in told


def test_variants_that_lack_the_same_fold_are_compared_on_the_others(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    for run in sweep.runs:
        if run.fold == 2:
            (run.folder / "predictions.csv").unlink()
    results = results_of(sweep)
    assert results.leader is not None
    # The look-ups have all three folds, and must not keep the variants from being compared.
    assert not np.isnan(results.leader.primary.procedure_low)
    assert results.comparisons_of(results.leader.predicted.name, "variants")
    assert results.leader.predicted.name in results.chance
    assert results.selection is not None
    said = " ".join(headline(results))
    assert "from one fold" not in said
    assert "No baseline was tested on just these folds" in said


def test_a_patient_tested_twice_by_any_variant_is_no_plain_proportion(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    first = sweep.runs[0].variant
    for run in sweep.runs:
        if run.variant == first and run.fold > 0:
            (run.folder / "predictions.csv").unlink()
    once, several = results_of(sweep).variants
    assert once.predicted.folds == (0,)
    counts = several.predicted.pooled
    accuracy = several.overall["accuracy"]
    # Wilson's interval would count each test of a patient as a patient.
    low, high = wilson(np.trace(counts), counts.sum())
    assert (accuracy.low, accuracy.high) != (low, high)


def test_more_than_twelve_variants_are_compared_with_the_leader_alone(tmp_path: Path) -> None:
    accuracies = {f"r3d_18-scratch-x{n}": 0.5 + n / 40 for n in range(13)}
    results = results_of(make_sweep(tmp_path, accuracies=accuracies, folds=2))
    between = [item for item in results.comparisons if item.family == "variants"]
    assert len(between) == 12
    assert results.leader is not None
    assert {item.a for item in between} == {results.leader.predicted.name}


def test_a_label_that_is_not_the_indexs_makes_a_run_invalid(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    path = sweep.runs[0].folder / "predictions.csv"
    path.write_text(re.sub(r",test,LGG,", ",test,HGG,", path.read_text(), count=1))
    evidence = results_of(sweep).evidence
    assert evidence.missing == ["r3d_18-scratch/fold0"]
    assert "expected label 'LGG'" in evidence.records[0].missing_because


def test_table_1_prints_the_runs_own_counts_beside_the_papers(tmp_path: Path) -> None:
    sweep = make_sweep(
        tmp_path,
        accuracies={"r3d_18-scratch": 0.9, "mc3_18-scratch": 0.9, "r2plus1d_18-scratch": 0.9},
    )
    rows = list(
        csv.reader(io.StringIO(to_csv(list_tables.parameters_table(results_of(sweep).evidence))))
    )
    assert rows[1:] == [
        ["ResNet3D", "33148995", "33150522"],
        ["Mixed Convolution", "11472963", "11472963"],
        ["ResNet(2+1)D", "31297254", "31297254"],
    ]


def test_the_papers_columns_stand_beside_the_papers_classes_only(tmp_path: Path) -> None:
    ages = ("young", "middle", "old")
    sources = {("IXI-HH", name): 8 for name in ages}
    results = results_of(make_sweep(tmp_path, sources=sources, classes=ages))
    tables = score_tables.all_tables(results)
    assert not any(says_paper(table) for table in tables)
    assert [t.name for t in tables if t.name.startswith("f1_of")] == [
        "f1_of_0_young",
        "f1_of_1_middle",
        "f1_of_2_old",
    ]


def test_without_a_reference_nothing_of_the_paper_is_printed(tmp_path: Path) -> None:
    results = results_of(make_sweep(tmp_path, reference=""))
    tables = score_tables.all_tables(results)
    assert not any(says_paper(table) for table in tables)
    assert "Paper" not in page_of(results)
    assert "literature" not in [table.name for table in tables]
    assert results.evidence.variants[0].label == "ResNet3D"


def test_titles_name_the_papers_own_table_where_it_was_chosen(results: Results) -> None:
    titles = {table.name: table.title for table in score_tables.all_tables(results)}
    assert titles["f1_of_0_LGG"] == "F1 of LGG (their Table 2)"
    assert titles["scores"] == "Macro and weighted F1 (their Table 5)"
    assert titles["comparisons"] == "Differences of Macro F1"


def says_paper(table: Table) -> bool:
    return "rinted" in to_markdown(table) or "their Table" in table.title


def test_every_score_table_holds_both_baselines(results: Results) -> None:
    for table in score_tables.all_tables(results):
        if table.name not in ("cohort", "parameters", "comparisons", "literature"):
            text = to_markdown(table)
            assert "Majority class" in text, table.name
            assert "Source only" in text, table.name


def example(*scores: float, kinds: tuple[str, ...]) -> Table:
    columns = [Column("Variant"), Column("F1", best=True, spread=True)]
    rows = [
        Row([f"a_{n} & b", Score(score, 0.01)], kind)
        for n, (score, kind) in enumerate(zip(scores, kinds, strict=True))
    ]
    return Table("example", "An example, 95 %", columns, rows)


def test_the_best_network_is_bold_and_never_a_baseline() -> None:
    table = example(0.9111, 0.91112, 0.8, 0.99, kinds=("network",) * 3 + ("baseline",))
    # The first two print alike, so both are the best.
    assert table.best == {(0, 1), (1, 1)}
    assert to_markdown(table).count("**0.911 ± 0.010**") == 2


def test_csv_keeps_full_precision_and_leaves_the_undefined_empty() -> None:
    columns = [Column("F1", spread=True), Column("95 %", interval=True), Column("n")]
    row = Row([Score(1 / 3, math.nan), Interval(-0.1, math.nan), 1234])
    lines = to_csv(Table("t", "T", columns, [row])).splitlines()
    assert lines == ["F1,F1 sd,95 % low,95 % high,n", f"{1 / 3!r},,-0.1,,1234"]


def test_latex_escapes_what_would_be_a_command() -> None:
    text = to_latex(example(0.5, 0.6, kinds=("network", "baseline")))
    assert r"a\_0 \& b & 0.500 $\pm$ 0.010 \\" in text
    assert r"95 \%" in text
    assert text.count(r"\midrule") == 2


def test_small_standard_deviations_print_as_in_the_paper() -> None:
    assert Score(0.9998, 0.0002, digits=4).text() == "0.9998 ± 0.0002"
    assert Score(0.9, 1e-17).text() == "0.900 ± 0.000"
    assert Score(math.nan).text() == "–"


def page_of(results: Results) -> str:
    texts = report.texts_of(results)
    return report.render(results, texts, report.tables_of(results, texts), [])


def test_a_card_counts_tests_as_the_table_of_hard_subjects_does(tmp_path: Path) -> None:
    names = ("r3d_18-scratch", "mc3_18-scratch", "r2plus1d_18-scratch")
    results = results_of(make_sweep(tmp_path, accuracies=dict.fromkeys(names, 0.4)))
    hardest = {
        str(row.cells[0]): (row.cells[3], row.cells[4])
        for row in list_tables.hardest_table(results.evidence).rows
    }
    cards = report.mistakes_of(results)
    assert cards["Missed by most networks"]
    for card in cards["Missed by most networks"]:
        mistake = card.mistake
        assert (mistake.missed, mistake.tested) == hardest[mistake.subject_id]
    # By hand: each network once a fold that tests the subject.
    one = cards["Missed by most networks"][0].mistake
    folds = sum(one.subject_id in fold.test for fold in results.evidence.cohort.folds)
    assert one.tested == folds * len(names)


def test_a_leader_among_equals_cannot_be_told_apart_from_any(tmp_path: Path) -> None:
    names = [
        f"{model}-{w}"
        for model in ("r3d_18", "mc3_18", "r2plus1d_18")
        for w in ("scratch", "kinetics")
    ]
    results = results_of(make_sweep(tmp_path, accuracies=dict.fromkeys(names, 0.7)))
    assert "apart from any of the 5 other variants" in " ".join(headline(results))


def test_of_folds_that_differ_in_size_the_report_gives_the_range(results: Results) -> None:
    cohort = results.evidence.cohort
    first, *others = cohort.folds
    uneven = replace(cohort, folds=(replace(first, test=first.test[1:]), *others))
    sizes = sorted(len(fold.test) for fold in uneven.folds)
    given = replace(results, evidence=replace(results.evidence, cohort=uneven))
    said = " ".join(what for _, what in report.facts(given))
    assert f"folds of {sizes[0]} to {sizes[-1]} test scans" in said


def test_the_report_loads_nothing_from_anywhere(results: Results) -> None:
    page = page_of(results)
    # A link to a DOI loads nothing until somebody follows it.
    assert not re.search(r"""src=["']?(https?:|//|file:)|<link|@import|url\(""", page)
    assert "<script" not in page


def test_names_from_the_data_are_escaped_in_the_report(tmp_path: Path) -> None:
    sources = {("<script>alert(1)</script>", "a<b"): 12, ("x", "b&c"): 12}
    sweep = make_sweep(tmp_path, sources=sources, classes=("a<b", "b&c"), note="<b>careful</b>")
    page = page_of(results_of(sweep))
    assert "<script>" not in page
    assert "<b>careful" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;b&gt;careful&lt;/b&gt;" in page


def test_the_headline_says_when_the_source_alone_does_better(tmp_path: Path) -> None:
    accuracies = {"r3d_18-scratch": 0.6}
    sweep = make_sweep(tmp_path, sources=PAPER_SOURCES, accuracies=accuracies)
    said = " ".join(headline(results_of(sweep)))
    assert "It is below the look-up from source alone" in said


def test_the_headline_says_when_a_network_beats_the_source(tmp_path: Path) -> None:
    sources = {(place, name): 20 for place in ("A", "B") for name in ("LGG", "HGG", "Healthy")}
    accuracies = {"r3d_18-scratch": 0.95, "mc3_18-scratch": 0.94}
    results = results_of(make_sweep(tmp_path, sources=sources, accuracies=accuracies))
    said = " ".join(headline(results))
    assert "It is above the look-up from source alone" in said
    assert "It cannot be told apart from" in said
    assert results.comparisons_of(results.leader.predicted.name, "baselines")[0].low > 0


def test_one_source_gives_no_source_baseline_and_no_sentence_about_it(tmp_path: Path) -> None:
    sources = {("one", "LGG"): 20, ("one", "HGG"): 20, ("one", "Healthy"): 20}
    results = results_of(make_sweep(tmp_path, sources=sources))
    assert [baseline.predicted.name for baseline in results.baselines] == ["majority"]
    assert "source" not in " ".join(headline(results))


def test_where_the_source_decides_the_class_the_headline_says_so(tmp_path: Path) -> None:
    # Both hold both classes, but a network that knows the source alone is nearly always right.
    sources = {("A", "ill"): 90, ("A", "well"): 10, ("B", "ill"): 10, ("B", "well"): 90}
    sweep = make_sweep(
        tmp_path, sources=sources, classes=("ill", "well"), accuracies={"r3d_18-scratch": 0.9}
    )
    generator = np.random.default_rng(0)
    for run in sweep.runs:
        path = run.folder / "predictions.csv"
        table = predictions.read(path)
        ill = [0.7 if row.source == "A" else 0.3 for row in table.rows]
        ill = np.clip(ill + 0.1 * generator.standard_normal(len(ill)), 0.01, 0.99)
        path.unlink()
        subjects = [
            Subject(row.subject_id, row.patient_id, row.source, row.label, "") for row in table.rows
        ]
        predictions.write(
            path,
            subjects=subjects,
            fold=run.fold,
            classes=("ill", "well"),
            probabilities=np.stack([ill, 1 - ill], axis=1),
        )
    results = results_of(sweep)
    assert results.within is not None
    assert results.within.overall > 0.8
    assert results.within.low < 0.5 < results.within.high
    assert "Where the source does not give the class away" in " ".join(headline(results))


def test_what_a_run_does_not_know_of_itself_is_left_out_of_the_report(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    for run in sweep.runs:
        text = json.dumps({"code": {"commit": None, "changed": None}, "precision": "bf16"})
        (run.folder / "provenance.json").write_text(text, encoding="utf-8")
    assert report.provenance(results_of(sweep).evidence.records) == [("Precision", "bf16")]


def test_no_interval_has_zero_width_where_the_classes_are_separated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sure(subjects: list[Subject], classes: tuple[str, ...], *_: object, **__: object) -> object:
        return np.eye(len(classes))[[classes.index(subject.label) for subject in subjects]]

    monkeypatch.setattr(sweeps, "simulate", sure)
    results = results_of(make_sweep(tmp_path, accuracies={"r3d_18-scratch": 1.0}, folds=1))
    perfect = results.variants[0]
    for name in ("macro_auc", "macro_average_precision"):
        assert perfect.overall[name].pooled == 1.0
        assert 0.3 < perfect.overall[name].low < 0.99, name
        assert perfect.overall[name].high == pytest.approx(1.0)


def test_no_interval_has_zero_width_where_everybody_is_right(tmp_path: Path) -> None:
    results = results_of(make_sweep(tmp_path, accuracies={"r3d_18-scratch": 1.0}, folds=1))
    perfect = results.variants[0]
    for name in ("macro_f1", "accuracy", "balanced_accuracy", "mcc", "kappa"):
        assert perfect.overall[name].pooled == 1.0
        assert perfect.overall[name].low < 0.99, name
    for estimates in perfect.per_class.values():
        for name in ("f1", "recall", "specificity", "auc", "average_precision"):
            assert estimates[name].high - estimates[name].low > 0.005, name


def test_what_is_said_of_a_baselines_procedure_does_not_depend_on_the_networks(
    tmp_path: Path,
) -> None:
    one = {"r3d_18-scratch": 0.6}
    several = one | {"r3d_18-kinetics": 0.9, "mc3_18-scratch": 0.4, "mc3_18-kinetics": 0.7}
    alone, among = (
        results_of(make_sweep(tmp_path / str(len(some)), accuracies=some))
        for some in (one, several)
    )
    for mine, same in zip(alone.baselines, among.baselines, strict=True):
        ends = (same.primary.procedure_low, same.primary.procedure_high)
        assert (mine.primary.procedure_low, mine.primary.procedure_high) == pytest.approx(ends)
        assert ends[1] > ends[0]


def test_columns_that_say_the_same_of_two_classes_are_shown_once(tmp_path: Path) -> None:
    sources = {("A", "ill"): 20, ("B", "well"): 20, ("A", "well"): 8}
    results = results_of(make_sweep(tmp_path, sources=sources, classes=("ill", "well")))
    tables = {table.name: table for table in score_tables.all_tables(results)}
    accuracy = tables["accuracy"]
    assert [column.name for column in accuracy.columns] == [
        "Variant",
        "Accuracy",
        "Balanced accuracy",
    ]
    assert "With two classes, mean one-vs-rest accuracy equals accuracy" in accuracy.caption
    assert "Accuracy (class against rest)" not in [c.name for c in tables["per_class"].columns]
    for summary in results.everyone:  # by hand
        (hit, missed), (false, spared) = summary.predicted.pooled
        overall = {name: one.pooled for name, one in summary.overall.items()}
        right = (hit + spared) / (hit + missed + false + spared)
        mean = (hit / (hit + missed) + spared / (false + spared)) / 2
        assert overall["accuracy"] == pytest.approx(right)
        assert overall["ovr_accuracy"] == pytest.approx(right)
        assert overall["balanced_accuracy"] == pytest.approx(mean)
        assert overall["macro_specificity"] == pytest.approx(mean)


def test_a_baseline_of_another_version_is_missing_and_said_to_be(tmp_path: Path) -> None:
    sweep = replace(make_sweep(tmp_path), baselines=("tomorrow",))
    evidence = collect_evidence(sweep)
    assert "baseline-tomorrow/fold0" in evidence.missing
    assert "does not know" in evidence.records[0].missing_because
