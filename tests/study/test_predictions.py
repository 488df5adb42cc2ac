from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stfmri.study import predictions
from stfmri.study.predictions import PredictionError
from stfmri.study.splits import Subject

CLASSES = ("LGG", "HGG", "Healthy")
SUBJECTS = [
    Subject("scan 1, left", "p1", "BraTS-2013", "LGG", "a"),
    Subject('scan "2"', "p2", "BraTS-TMC", "HGG", "b"),
    Subject("Müller_3", "p3", "IXI-HH", "Healthy", "c"),
]
PROBABILITIES = np.array([[0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [1 / 3, 1 / 3, 1 / 3]])
# Neither surrogates, which are no text, nor control characters.
PRINTABLE = st.characters(exclude_categories=("Cs", "Cc"))
IDS = {subject.subject_id for subject in SUBJECTS}


def write_example(folder: Path) -> Path:
    path = folder / "predictions.csv"
    predictions.write(path, subjects=SUBJECTS, fold=2, classes=CLASSES, probabilities=PROBABILITIES)
    return path


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_what_is_written_is_read_back_and_valid(tmp_path: Path) -> None:
    table = predictions.read(write_example(tmp_path))
    predictions.validate(table, CLASSES, 2, IDS)
    assert table.classes == CLASSES
    assert [row.subject_id for row in table.rows] == [s.subject_id for s in SUBJECTS]
    assert [row.source for row in table.rows] == ["BraTS-2013", "BraTS-TMC", "IXI-HH"]
    # The last row is a tie, which goes to the first class.
    assert [row.prediction for row in table.rows] == ["HGG", "HGG", "LGG"]
    np.testing.assert_allclose([row.probabilities for row in table.rows], PROBABILITIES, atol=1e-9)


def test_a_table_of_another_cohort_is_valid_as_such_and_no_run_s(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    wanted = {"subjects": SUBJECTS, "fold": 0, "classes": CLASSES, "probabilities": PROBABILITIES}
    predictions.write(path, **wanted, split=predictions.EXTERNAL)  # type: ignore[arg-type]
    table = predictions.read(path)
    predictions.validate(table, CLASSES, 0, IDS, predictions.EXTERNAL)
    with pytest.raises(PredictionError, match="split 'test'"):
        predictions.validate(table, CLASSES, 0, IDS)
    assert not predictions.is_done(tmp_path, 0)


def test_float32_probabilities_are_kept_to_the_bit(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    exact = generator.dirichlet(np.ones(3), size=3).astype(np.float32)
    path = tmp_path / "predictions.csv"
    predictions.write(path, subjects=SUBJECTS, fold=0, classes=CLASSES, probabilities=exact)
    read = np.array([row.probabilities for row in predictions.read(path).rows], dtype=np.float32)
    np.testing.assert_array_equal(read, exact)


@given(
    st.lists(st.text(PRINTABLE, min_size=1), min_size=1, max_size=5, unique=True),
    st.lists(st.text(alphabet="abcd,;\"' é", min_size=1), min_size=2, max_size=4, unique=True),
)
def test_any_printable_subject_and_class_name_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], classes: list[str]
) -> None:
    path = tmp_path_factory.mktemp("run") / "predictions.csv"
    subjects = [Subject(name, name, "s", classes[0], "") for name in names]
    equal = np.full((len(names), len(classes)), 1 / len(classes))
    predictions.write(path, subjects=subjects, fold=0, classes=classes, probabilities=equal)
    table = predictions.read(path)
    predictions.validate(table, classes, 0, set(names))
    assert [row.subject_id for row in table.rows] == names


def test_probabilities_that_are_no_numbers_are_refused_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    broken = PROBABILITIES.copy()
    broken[1] = np.nan
    with pytest.raises(PredictionError, match=r'scan "2".*diverge'):
        predictions.write(
            tmp_path / "predictions.csv",
            subjects=SUBJECTS,
            fold=0,
            classes=CLASSES,
            probabilities=broken,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_subject_predicted_twice_is_refused_by_name(tmp_path: Path) -> None:
    path = write_example(tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines, lines[-1]]), encoding="utf-8")
    with pytest.raises(PredictionError, match=r"Müller_3.*more than once"):
        predictions.validate(predictions.read(path), CLASSES, 2, IDS)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("HGG,0.2,0.5,0.3", "HGG,0.2,0.6,0.3", "sum to 1"),
        ("HGG,0.2,0.5,0.3", "HGG,-0.2,0.9,0.3", "from 0 to 1"),
        ("HGG,0.2,0.5,0.3", "HGG,nan,0.5,0.3", "from 0 to 1"),
        ("LGG,HGG,0.2,0.5,0.3", "LGG,LGG,0.2,0.5,0.3", "likeliest class 'HGG'"),
        ("test,LGG,HGG", "test,Lgg,HGG", "a label out of"),
        (",2,test,LGG", ",1,test,LGG", "fold 2"),
        (",test,LGG", ",train,LGG", "split 'test'"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused_naming_file_and_subject(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    path = write_example(tmp_path)
    replace_in(path, old, new)
    with pytest.raises(PredictionError) as caught:
        predictions.validate(predictions.read(path), CLASSES, 2, IDS)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)
    assert "'scan 1, left'" in str(caught.value)


def test_missing_and_foreign_subjects_are_named(tmp_path: Path) -> None:
    table = predictions.read(write_example(tmp_path))
    with pytest.raises(PredictionError, match="no row for 'absent'"):
        predictions.validate(table, CLASSES, 2, IDS | {"absent"})
    with pytest.raises(PredictionError, match="outside the test set: 'Müller_3'"):
        predictions.validate(table, CLASSES, 2, IDS - {"Müller_3"})


def test_other_classes_than_the_sweeps_are_refused(tmp_path: Path) -> None:
    table = predictions.read(write_example(tmp_path))
    with pytest.raises(PredictionError, match="classes"):
        predictions.validate(table, ("HGG", "LGG", "Healthy"), 2, IDS)


def test_a_run_is_done_once_its_whole_table_is_there(tmp_path: Path) -> None:
    assert not predictions.is_done(tmp_path)
    path = write_example(tmp_path)
    assert predictions.is_done(tmp_path)
    whole = path.read_bytes()
    for broken in (b"", b"\n", whole.splitlines(keepends=True)[0], b"\xff\xfe\n", b'a,b\n"'):
        path.write_bytes(broken)
        assert not predictions.is_done(tmp_path), broken


@given(st.integers(min_value=0))
def test_a_table_cut_off_within_a_line_is_not_done(
    tmp_path_factory: pytest.TempPathFactory, position: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    path = write_example(folder)
    whole = path.read_bytes()
    cut = whole[: position % len(whole)]
    path.write_bytes(cut)
    assert predictions.is_done(folder) == (cut.endswith(b"\n") and cut.count(b"\n") > 1)


def test_looking_for_done_runs_needs_neither_numpy_nor_pandas() -> None:
    code = (
        "import sys, stfmri.study.predictions;"
        "print(sorted({'numpy', 'pandas', 'torch', 'h5py'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
