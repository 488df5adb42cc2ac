"""Predictions of other tools: read, checked, and reported like a sweep's own."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from stfmri.evidence.__main__ import main
from stfmri.evidence.imported import read_evidence
from stfmri.evidence.sentences import headline
from stfmri.evidence.summarise import summarise
from stfmri.study.errors import UserError

CLASSES = ("ill", "well")


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def scikit_learn_rows(folds: int = 3) -> list[dict[str, object]]:
    """What docs/predictions.md writes from scikit-learn, without pandas."""
    features, target = make_classification(n_samples=90, n_features=6, random_state=0)
    labels = np.array(CLASSES)[target]
    rows: list[dict[str, object]] = []
    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    for fold, (train, test) in enumerate(splitter.split(features, labels)):
        model = LogisticRegression().fit(features[train], labels[train])
        for subject, probabilities in zip(test, model.predict_proba(features[test]), strict=True):
            rows.append(
                {"subject_id": f"s{subject:03d}", "label": labels[subject], "fold": fold}
                | {f"prob_{c}": p for c, p in zip(model.classes_, probabilities, strict=True)}
            )
    return rows


def test_a_report_of_scikit_learns_predictions_has_scikit_learns_scores(tmp_path: Path) -> None:
    rows = scikit_learn_rows()
    file = write_rows(tmp_path / "logistic.csv", rows)
    assert main([str(file), "--out", str(tmp_path / "out")]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    found = summary["variants"]["logistic"]
    by_fold = [[row for row in rows if row["fold"] == fold] for fold in range(3)]
    labels = [[row["label"] for row in part] for part in by_fold]
    ill = [[float(str(row["prob_ill"])) for row in part] for part in by_fold]
    chosen = [["ill" if p >= 0.5 else "well" for p in part] for part in ill]
    f1 = [f1_score(*pair, average="macro") for pair in zip(labels, chosen, strict=True)]
    auc = [
        roc_auc_score([label == "ill" for label in part], scores)
        for part, scores in zip(labels, ill, strict=True)
    ]
    assert found["macro_f1"]["mean"] == pytest.approx(np.mean(f1), abs=1e-12)
    assert found["macro_auc"]["mean"] == pytest.approx(np.mean(auc), abs=1e-12)
    assert found["macro_f1"]["ci95_procedure"][0] <= found["macro_f1"]["ci95"][0]
    assert "logistic" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_cohort_table_gives_labels_patients_sources_and_subgroups(tmp_path: Path) -> None:
    rows = scikit_learn_rows()
    cohort = [
        {
            "subject_id": row["subject_id"],
            "grade": row["label"],
            "patient_id": f"p{int(str(row['subject_id'])[1:]) // 2}",
            "source": "A" if index % 2 else "B",
            "scanner": "old" if index % 3 else "new",
        }
        for index, row in enumerate(rows)
    ]
    bare = [{key: value for key, value in row.items() if key != "label"} for row in rows]
    evidence = read_evidence(
        [write_rows(tmp_path / "x.csv", bare)],
        cohort_file=write_rows(tmp_path / "cohort.csv", cohort),
        label="grade",
    )
    subject = evidence.cohort.subjects["s000"]
    assert (subject.patient_id, subject.columns["scanner"]) == ("p0", cohort_of(cohort, "s000"))
    assert {baseline.name for baseline in evidence.baselines} == {"majority", "source_only"}
    for fold in evidence.cohort.folds:
        train = {evidence.cohort.subjects[name].patient_id for name in fold.train}
        assert not train & {evidence.cohort.subjects[name].patient_id for name in fold.test}


def cohort_of(cohort: Sequence[Mapping[str, object]], subject_id: str) -> object:
    return next(row["scanner"] for row in cohort if row["subject_id"] == subject_id)


def test_one_fold_is_an_external_test_without_a_training_part(tmp_path: Path) -> None:
    rows = [row | {"fold": 0} for row in scikit_learn_rows()]
    evidence = read_evidence([write_rows(tmp_path / "x.csv", rows)])
    assert evidence.cohort.folds[0].train == ()
    assert evidence.baselines == ()


def test_scans_of_another_cohort_are_called_an_external_test(tmp_path: Path) -> None:
    rows = [row | {"fold": 0, "split": "external"} for row in scikit_learn_rows()]
    evidence = read_evidence(
        [write_rows(tmp_path / "predictions.csv", rows)], variant="mine", notes=["Two refused."]
    )
    assert evidence.split.startswith("external test: 90 scans of 90 patients")
    assert evidence.split_notes == ("Two refused.",)
    assert [variant.name for variant in evidence.variants] == ["mine"]
    assert "in the external test; 95 % interval" in headline(summarise(evidence))[0]
    rows[1] = rows[1] | {"split": "test"}
    with pytest.raises(UserError, match=r"row 3 of .* has the split 'test', others have 'external"):
        read_evidence([write_rows(tmp_path / "predictions.csv", rows)])


@pytest.mark.parametrize("folds", [1, 3])
def test_a_fixed_test_part_is_reported_without_the_variance_of_training(
    folds: int, tmp_path: Path
) -> None:
    # Of one test part, or of several networks on it, nobody knows how many scans trained.
    rows = [row | {"fold": fold} for fold in range(folds) for row in scikit_learn_rows()]
    results = summarise(read_evidence([write_rows(tmp_path / "x.csv", rows)]))
    assert results.leader is not None
    estimate = results.leader.primary
    assert estimate.low < estimate.pooled < estimate.high
    assert math.isnan(estimate.procedure_low)
    assert ("from one fold" in headline(results)[0]) == (folds == 1)


def test_a_run_of_this_toolkit_is_called_by_its_variant(tmp_path: Path) -> None:
    rows = [row for row in scikit_learn_rows() if row["fold"] == 0]
    for variant in ("a", "b"):
        folder = tmp_path / variant / "fold0"
        folder.mkdir(parents=True)
        write_rows(folder / "predictions.csv", rows)
    files = sorted(tmp_path.glob("*/fold0/predictions.csv"))
    assert [variant.name for variant in read_evidence(files).variants] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"prob_ill": 0.9}, "sum to 1 in row 2"),
        ({"prob_ill": "high"}, "expected probabilities in row 2"),
        ({"label": "cured"}, "expected one of ill, well as label of subject"),
        ({"fold": "first"}, "expected a fold number from 0 to 9999"),
        ({"subject_id": ""}, "expected a subject_id in row 2"),
    ],
)
def test_a_bad_row_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], complaint: str
) -> None:
    rows = scikit_learn_rows()
    rows[0] = rows[0] | change
    file = write_rows(tmp_path / "x.csv", rows)
    assert main([str(file), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert "x.csv" in said
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_subject_predicted_twice_in_a_fold_is_refused(tmp_path: Path) -> None:
    rows = scikit_learn_rows()
    with pytest.raises(UserError, match=r"twice in fold 0: row 2 of .* and row 92 of"):
        read_evidence([write_rows(tmp_path / "x.csv", [*rows, rows[0]])])


def test_variants_of_different_test_subjects_are_not_compared(tmp_path: Path) -> None:
    rows = scikit_learn_rows()
    files = [write_rows(tmp_path / "x.csv", rows), write_rows(tmp_path / "y.csv", rows[1:])]
    with pytest.raises(UserError, match="must test the same subjects in fold 0"):
        read_evidence(files)


def test_a_file_without_probabilities_says_which_columns_it_has(tmp_path: Path) -> None:
    rows = [{"subject_id": "a", "label": "ill", "score": 1}]
    with pytest.raises(UserError, match=r"prob_<class>.*found subject_id, label, score"):
        read_evidence([write_rows(tmp_path / "x.csv", rows)])


def test_doubled_columns_and_classes_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("subject_id,label,prob_a,prob_a\ns,a,1,1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"each column once in .*, found prob_a twice"):
        read_evidence([file])
    file = write_rows(file, scikit_learn_rows())
    with pytest.raises(UserError, match="expected probabilities of ill, well, ill"):
        read_evidence([file], classes=("ill", "well", "ill"))


def test_help_explains_the_columns_and_starts_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stfmri.evidence", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "prob_<class>" in done.stdout


def test_a_class_that_is_never_tested_is_said(tmp_path: Path) -> None:
    rows = [row | {"fold": 0} for row in scikit_learn_rows() if row["label"] == "ill"]
    evidence = read_evidence([write_rows(tmp_path / "x.csv", rows)])
    assert evidence.split_notes == (
        "No scan of the class well is tested: nothing can be said of it.",
    )


def test_an_unknown_subgroup_column_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_rows(tmp_path / "x.csv", scikit_learn_rows())
    assert main([str(file), "--subgroups", "site", "--out", str(tmp_path / "out")]) == 2
    assert "no column site" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
