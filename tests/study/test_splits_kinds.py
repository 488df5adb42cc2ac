"""Every kind of split, on cohorts that differ in what they say of source, folds and volumes."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from stfmri.study import duplicates, splits
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from stfmri.study.config.split import SplitConfig
from stfmri.study.duplicates import Pair
from stfmri.study.errors import ConfigError, LeakageError, UserError
from stfmri.study.serialise import dump_yaml
from stfmri.study.shards import IndexRow, Volumes, read_index, write_index
from stfmri.study.splits import SPLITS, Fold, Split, Subject
from stfmri.study.splits.checks import notes_on
from stfmri.study.splits.column import _natural
from tests.study.test_splits import PAPER, cohort
from tests.tiny import tiny_cache, tiny_config

SMALL = {"a": 7, "b": 6, "c": 5}


def pairs_of_scans(counts: dict[str, int]) -> list[Subject]:
    """Every third scan is of the patient of the scan before."""
    subjects = cohort(counts)
    return [
        replace(subject, patient_id=subjects[number - 1].patient_id)
        if number % 3 == 1 and subjects[number - 1].label == subject.label
        else subject
        for number, subject in enumerate(subjects)
    ]


COHORTS = {
    "small": cohort(SMALL),
    "paper": cohort(PAPER),
    "pairs": pairs_of_scans({"a": 15, "b": 21, "c": 12}),
}
# sha256 of the folds as the first version of this program drew them.
DRAWN_BEFORE = [
    ("small", SplitConfig(), "7cf3e2f14ea0423d"),
    ("small", SplitConfig(seed=5, n=4, test_fraction=0.4), "ed564519b82a3e89"),
    ("small", SplitConfig(val_fraction=0.25, seed=2), "1648f214afac7bda"),
    ("small", SplitConfig(kind="kfold", n=4), "ebd1a76df21b4a89"),
    ("small", SplitConfig(kind="kfold", n=3, seed=7, val_fraction=0.3), "8bde6d195bc271aa"),
    ("paper", SplitConfig(), "2dd8974191f777b8"),
    ("paper", SplitConfig(seed=5, n=4, test_fraction=0.4), "8d0865a09b88ba2a"),
    ("paper", SplitConfig(val_fraction=0.25, seed=2), "b937ed8cc151dd32"),
    ("paper", SplitConfig(kind="kfold", n=4), "8a2e55934e618b36"),
    ("paper", SplitConfig(kind="kfold", n=3, seed=7, val_fraction=0.3), "45934e4298688dbf"),
    ("pairs", SplitConfig(), "b310a104daf80cc6"),
    ("pairs", SplitConfig(val_fraction=0.25, seed=2), "f984765a57accedd"),
    ("pairs", SplitConfig(kind="kfold", n=4), "0239f70916640747"),
    ("pairs", SplitConfig(kind="kfold", n=3, seed=7, val_fraction=0.3), "233e3283e3fd0fb3"),
]


@pytest.mark.parametrize(("name", "split", "digest"), DRAWN_BEFORE)
def test_a_seed_gives_the_folds_that_it_always_gave(
    name: str, split: SplitConfig, digest: str
) -> None:
    folds = splits.draw(COHORTS[name], tiny_config(Path(), split=split))
    text = json.dumps([asdict(fold) for fold in folds])
    assert hashlib.sha256(text.encode()).hexdigest().startswith(digest)


def test_repeated_kfold_tests_everybody_so_often_and_begins_as_without_repeats() -> None:
    subjects = cohort({"a": 11, "b": 9})
    split = SplitConfig(kind="kfold", n=5, repeats=3, seed=4)
    folds = splits.draw(subjects, tiny_config(Path(), split=split))
    assert len(folds) == split.folds == 15
    times = Counter(name for fold in folds for name in fold.test)
    assert set(times.values()) == {3}
    assert len(times) == 20
    once = tiny_config(Path(), split=replace(split, repeats=1))
    assert folds[:5] == splits.draw(subjects, once)
    assert len({fold.test for fold in folds}) == 15
    for start in (0, 5, 10):
        assert len({name for fold in folds[start : start + 5] for name in fold.test}) == 20


# --- caches whose index says what the test needs -------------------------------------------------


def cache(
    root: Path, change: Callable[[int, IndexRow], IndexRow], per_class: int = 8, **keys: object
) -> Config:
    """A tiny cache of three classes, each row of its index changed, and its configuration."""
    config = tiny_config(root, **keys)
    rows = tiny_cache(config, per_class=per_class)
    write_index(config.cache, [change(number, row) for number, row in enumerate(rows)])
    return config


def with_columns(**columns: Callable[[int], str]) -> Callable[[int, IndexRow], IndexRow]:
    def change(number: int, row: IndexRow) -> IndexRow:
        more = {name: value(number) for name, value in columns.items()}
        return replace(row, columns={**row.columns, **more})

    return change


def site(number: int, row: IndexRow) -> IndexRow:
    """Four sites that hold every class."""
    return replace(row, source=f"site-{number % 4}")


def sources_of(split: Split, ids: tuple[str, ...]) -> set[str]:
    return {split.subjects[name].source for name in ids}


def test_leave_one_source_out_never_trains_on_the_tested_source(tmp_path: Path) -> None:
    config = cache(tmp_path, site, split=SplitConfig(kind="source", n=0))
    split = splits.ensure(config)
    assert [sources_of(split, fold.test) for fold in split.folds] == [
        {f"site-{number}"} for number in range(4)
    ]
    for fold in split.folds:
        assert not sources_of(split, fold.train) & sources_of(split, fold.test)
        assert len(fold.train) + len(fold.test) == 24
    assert splits.describe(split) == "leave-one-source-out over 4 sources"
    assert splits.resolved(config).split.n == 4
    assert split.path == splits.resolved(config).split_file


def test_a_patient_of_two_sources_is_trained_on_in_neither_of_their_folds(tmp_path: Path) -> None:
    def change(number: int, row: IndexRow) -> IndexRow:
        row = site(number, row)
        return replace(row, patient_id="travels") if number in (0, 1) else row

    split = splits.ensure(cache(tmp_path, change, split=SplitConfig(kind="source", n=0)))
    traveller = [s.subject_id for s in split.subjects.values() if s.patient_id == "travels"]
    for fold in split.folds[:2]:
        assert not set(traveller) & set(fold.train)
        assert len(set(traveller) & set(fold.test)) == 1
    assert any("left out of a fold" in note and "1 in fold 0" in note for note in split.notes)


def test_small_sources_train_in_every_fold_and_are_named(tmp_path: Path) -> None:
    def change(number: int, row: IndexRow) -> IndexRow:
        return replace(row, source="tiny" if number % 8 == 0 else f"site-{number % 2}")

    split = splits.ensure(cache(tmp_path, change, split=SplitConfig(kind="source", n=0)))
    assert len(split.folds) == 2
    assert any("tiny (3)" in note for note in split.notes)
    assert all("tiny" in sources_of(split, fold.train) for fold in split.folds)


def test_groups_of_sources_are_whole_and_alike(tmp_path: Path) -> None:
    def change(number: int, row: IndexRow) -> IndexRow:
        return replace(row, source=f"site-{number % 8}")

    split = splits.ensure(cache(tmp_path, change, split=SplitConfig(kind="source", n=0, groups=3)))
    tested = [sources_of(split, fold.test) for fold in split.folds]
    assert sorted(name for group in tested for name in group) == [f"site-{n}" for n in range(8)]
    assert {len(group) for group in tested} <= {2, 3}
    for fold in split.folds:
        counts = Counter(split.subjects[name].label for name in fold.test)
        assert set(counts.values()) <= {2, 3}
        assert len(counts) == 3
    assert splits.describe(split).endswith("over 3 groups of sources")
    assert split.path.name == "source-label-3groups-0.json"


def test_sources_that_hold_a_class_alone_cannot_be_left_out(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, split=SplitConfig(kind="source", n=0))
    tiny_cache(config, per_class=6)  # all healthy heads are of one source
    with pytest.raises(UserError, match=r"fold \d has no training subject of the class") as caught:
        splits.ensure(config)
    assert "split.groups" in str(caught.value)
    assert not config.split_file.parent.exists()


def test_a_source_of_one_class_may_be_tested_and_it_is_said(tmp_path: Path) -> None:
    def change(number: int, row: IndexRow) -> IndexRow:
        pure = number < 5  # five of the eight LGG
        return replace(row, source="pure" if pure else f"site-{number % 2}")

    split = splits.ensure(cache(tmp_path, change, split=SplitConfig(kind="source", n=0)))
    assert "the class HGG is not tested in fold 0" in split.notes
    assert "the class Healthy is not tested in fold 0" in split.notes


@pytest.mark.parametrize(
    ("split", "says"),
    [
        (SplitConfig(kind="source", n=0, groups=9), "at most the number of sources, found 9"),
        (SplitConfig(kind="source", n=3), "4 sources with 5 scans or more .* make 4 folds"),
        (SplitConfig(kind="column", n=0), "a column fold or split"),
        (SplitConfig(kind="column", n=0, column="site"), "the column site"),
        (SplitConfig(kind="column", n=0, column="gap"), r"empty for 23 scans"),
        (SplitConfig(kind="column", n=0, column="one"), "names one fold only"),
        (SplitConfig(kind="column", n=0, column="mixed"), "must hold train, test"),
        (SplitConfig(kind="external", n=1), "data.external=NAME"),
    ],
)
def test_what_the_data_cannot_give_is_one_clear_line(
    tmp_path: Path, split: SplitConfig, says: str
) -> None:
    columns = with_columns(
        gap=lambda number: "" if number else "1",
        one=lambda number: "1",
        mixed=lambda number: "train" if number % 2 else "3",
    )
    config = cache(tmp_path, lambda n, row: columns(n, site(n, row)), split=split)
    with pytest.raises(UserError, match=says) as caught:
        splits.ensure(config)
    assert "\n" not in str(caught.value)


def test_the_users_folds_are_taken_as_they_stand(tmp_path: Path) -> None:
    change = with_columns(fold=lambda number: str(number % 11 + 2), split=lambda number: "train")
    config = cache(tmp_path, change, split=SplitConfig(kind="column", n=0))
    split = splits.ensure(config)
    assert len(split.folds) == 11
    for number, fold in enumerate(split.folds):  # 2, 3 … 12: by size, not as text
        values = {split.subjects[name].columns["fold"] for name in fold.test}
        assert values == {str(number + 2)}
        assert len(fold.train) + len(fold.test) == 24
    assert splits.describe(split).startswith("the user's own 11 folds (column fold, sha256 ")
    assert split.path.name == "column-label@fold-11-0.json"
    assert any("is not tested in folds" in note for note in split.notes)


def test_the_users_train_val_and_test_are_one_fold(tmp_path: Path) -> None:
    change = with_columns(mine=lambda number: ("Train", "train", "val", "test")[number % 4])
    config = cache(tmp_path, change, split=SplitConfig(kind="column", n=0, column="mine"))
    [fold] = splits.ensure(config).folds
    assert (len(fold.train), len(fold.val), len(fold.test)) == (12, 6, 6)
    both = replace(config, split=replace(config.split, val_fraction=0.2, seed=1))
    with pytest.raises(ConfigError, match=r"set split\.val_fraction=0"):
        splits.ensure(both)


def test_the_users_folds_may_not_divide_a_patient_nor_change_later(tmp_path: Path) -> None:
    split = SplitConfig(kind="column", n=0)
    config = cache(tmp_path, with_columns(fold=lambda number: str(number % 2)), split=split)
    splits.ensure(config)
    rows = read_index(config.cache)
    moved = replace(rows[0], columns={**rows[0].columns, "fold": "1"})
    write_index(config.cache, [moved, *rows[1:]])
    with pytest.raises(UserError, match="drawn with other settings: column_sha256"):
        splits.ensure(config)
    one_patient = [replace(row, patient_id="same") for row in rows[:2]]
    write_index(config.cache, [*one_patient, *rows[2:]])
    other = replace(config, split=replace(split, seed=1))
    with pytest.raises(LeakageError, match=r"LGG-00 \(0\) and LGG-01 \(1\)"):
        splits.ensure(other)


@pytest.mark.parametrize(
    "split",
    [SplitConfig(kind="source", n=0), SplitConfig(kind="column", n=0), SplitConfig(kind="kfold")],
)
def test_a_validation_part_comes_out_of_training_in_every_kind(
    tmp_path: Path, split: SplitConfig
) -> None:
    folds = with_columns(fold=lambda number: str(number % 2))
    config = cache(tmp_path, lambda n, row: folds(n, site(n, row)), split=split)
    plain = splits.ensure(config)
    more = replace(splits.resolved(config).split, val_fraction=0.25)
    held = splits.draw(list(plain.subjects.values()), replace(config, split=more))
    for one, other in zip(plain.folds, held, strict=True):
        assert one.test == other.test
        assert sorted(other.train + other.val) == sorted(one.train)
        assert other.val


# --- another cohort ------------------------------------------------------------------------------


def two_cohorts(root: Path, chain: str = "", prefix: str = "ext-") -> Config:
    config = tiny_config(
        root,
        data=DataConfig(name="tiny", external="other", classes=("LGG", "HGG", "Healthy")),
        split=SplitConfig(kind="external", n=1),
    )
    tiny_cache(config)
    other = replace(config, data=replace(config.data, name="other"))
    tiny_cache(other, per_class=3, seed=1, prefix=prefix, chain=chain)
    return config


def test_an_external_split_trains_on_all_and_tests_the_other_cohort(tmp_path: Path) -> None:
    config = two_cohorts(tmp_path)
    split = splits.ensure(config)
    [fold] = split.folds
    assert len(fold.train) == 12
    assert len(fold.test) == 9
    assert all(name.startswith("ext-") for name in fold.test)
    volumes = Volumes(config.cache, splits.rows_of(config))
    theirs = Volumes(tmp_path, read_index(config.external_cache or tmp_path))
    for name in fold.test:
        assert (volumes[name] == theirs[name]).all()
    assert splits.describe(split) == "external test: other"
    assert split.path.name == "external-label@other-0.json"


def test_an_external_cohort_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    chain = {**tiny_config(tmp_path).chain, "extraction": "none"}
    other = dump_yaml({**chain, "preprocessing.spacing_mm": 4.0})
    config = two_cohorts(tmp_path / "chain", chain=other)
    with pytest.raises(
        UserError, match=r"made with preprocessing\.spacing_mm=4\.0 \(asked for: 10"
    ):
        splits.ensure(config)
    other = dump_yaml({**chain, "extraction": "another version"})
    config = two_cohorts(tmp_path / "extraction", chain=other)
    with pytest.raises(UserError, match=r"another version, .* with extraction=none"):
        splits.ensure(config)
    config = two_cohorts(tmp_path / "names", prefix="")
    with pytest.raises(UserError, match="both have the subject"):
        splits.ensure(config)
    config = two_cohorts(tmp_path / "patients")
    folder = config.external_cache
    assert folder is not None
    rows = read_index(folder)
    write_index(folder, [replace(rows[0], patient_id="LGG-00"), *rows[1:]])
    with pytest.raises(LeakageError, match="LGG-00 and ext-LGG-00"):
        splits.ensure(config)
    write_index(folder, [replace(rows[0], columns={"label": "new"}), *rows[1:]])
    with pytest.raises(ConfigError, match="external cohort other holds the class new"):
        splits.ensure(config)
    write_index(folder, rows[3:])  # no LGG
    assert "the class LGG is never tested: no score of it can be given" in (
        splits.ensure(config).notes
    )


def test_the_same_scan_in_both_cohorts_is_suspected(tmp_path: Path) -> None:
    """Noise is told apart at full resolution; of so few volumes every pair is looked at."""
    config = two_cohorts(tmp_path)
    rows = splits.rows_of(config)
    volumes = Volumes(config.cache, rows)
    ours, theirs = rows[:12], rows[12:]
    assert duplicates.between(volumes, ours, theirs) == ()
    split = replace(
        splits.check(config).file, near_duplicates=(Pair("LGG-00", "ext-HGG-00", 0.99),)
    )
    splits.write_file(split)
    [note] = [note for note in splits.check(config).notes if "same scan" in note]
    assert "LGG-00 and ext-HGG-00 (correlation 0.990, fold 0)" in note


# --- the file, its hash, and what is said --------------------------------------------------------


def test_a_hash_sees_what_decides_the_folds_and_nothing_else(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    tiny_cache(config)
    split = splits.ensure(config)
    content = json.loads(split.path.read_text())
    hashed = replace(config, split=replace(config.split, sha256=split.sha256))
    split.path.write_text(json.dumps(content))  # laid out otherwise
    assert splits.ensure(hashed).sha256 == split.sha256
    fold = content["folds"][0]
    fold["train"], fold["test"] = fold["test"], fold["train"]
    split.path.write_text(json.dumps(content))
    assert splits.ensure(config).sha256 != split.sha256  # nobody asked
    with pytest.raises(UserError, match=r"random-label-2-0\.json is not the split"):
        splits.ensure(hashed)
    split.path.unlink()
    assert splits.ensure(hashed).sha256 == split.sha256  # drawn again as it was


def test_a_file_of_the_first_format_is_read_as_before(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    tiny_cache(config)
    split = splits.ensure(config)
    content = json.loads(split.path.read_text())
    assert content.pop("n") == 2
    split.path.write_text(json.dumps({**content, "format": 1}))
    assert splits.ensure(config).folds == split.folds
    assert splits.ensure(config).file.folds_sha256 == split.file.folds_sha256
    split.path.write_text(json.dumps({**content, "format": 3}))
    with pytest.raises(UserError, match="split format 3, this program reads 1 and 2"):
        splits.ensure(config)


@pytest.mark.parametrize(
    ("split", "name"),
    [
        (SplitConfig(), "random-label-3-0.json"),
        (SplitConfig(kind="kfold", n=5, seed=2), "kfold-label-5-2.json"),
        (SplitConfig(kind="kfold", n=5, repeats=3), "kfold-label-5x3-0.json"),
        (SplitConfig(near_duplicates="apart"), "random-label-3-0-apart.json"),
        (SplitConfig(kind="source", n=7), "source-label-7-0.json"),
        (SplitConfig(kind="source", n=3, groups=3), "source-label-3groups-0.json"),
        (SplitConfig(kind="column", n=5, column="mine"), "column-label@mine-5-0.json"),
    ],
)
def test_a_files_name_tells_all_that_distinguishes_it(split: SplitConfig, name: str) -> None:
    assert tiny_config(Path(), split=split).split_file.name == name


def test_uneven_shares_and_suspicious_pairs_are_said(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, split=SplitConfig(n=1, near_duplicates="apart"))
    tiny_cache(config)
    split = splits.ensure(config)
    test = Counter(split.subjects[name].label for name in split.folds[0].test)
    most, count = test.most_common(1)[0]
    [note] = split.notes
    share = f"{100 * count / 4:.0f} % of the test part of fold 0"
    assert f"{most} (33 % of the cohort) is {share}" in note
    [fold] = split.folds
    together, apart = (fold.train[0], fold.train[1]), (fold.train[0], fold.test[0])
    duplicates.write(config.cache, [Pair(*together, 0.97), Pair(*apart, 0.98)])
    notes = [note for note in splits.ensure(config).notes if "same scan" in note]
    assert len(notes) == 1
    assert f"{apart[0]} and {apart[1]} (correlation 0.980, fold 0)" in notes[0]
    assert together[1] not in notes[0]


def test_degenerate_folds_written_by_hand_are_refused_before_anything_trains(
    tmp_path: Path,
) -> None:
    config = tiny_config(tmp_path)
    tiny_cache(config)
    file = splits.ensure(config).file
    fold = file.folds[1]
    healthy = tuple(name for name in fold.train if name.startswith("Healthy"))
    for lacking, says in (
        (
            replace(fold, train=tuple(n for n in fold.train if n not in healthy)),
            "fold 1 has no training subject of the class Healthy",
        ),
        (
            replace(fold, test=tuple(n for n in fold.test if not n.startswith("LGG"))),
            "fold 1 tests no subject of the class LGG",
        ),
    ):
        splits.write_file(replace(file, folds=(file.folds[0], lacking)))
        with pytest.raises(UserError, match=says):
            splits.ensure(config)


def test_facts_count_patients_not_scans() -> None:
    subjects = {s.subject_id: s for s in cohort({"a": 4, "b": 4})}
    subjects["a001"] = replace(subjects["a001"], patient_id="a000")
    fold = splits.Fold(("a002", "a003", "b001", "b002", "b003"), (), ("a000", "a001", "b000"))
    other = splits.Fold(("a002", "a003", "b000", "b002", "b003"), (), ("a000", "a001", "b001"))
    found = splits.facts((fold, other), subjects, ("a", "b"))
    assert found.overall == splits.Tested(patients=7, tested=3, least=1, most=2, mean=4 / 7)
    assert found.overall.never == 4
    assert found.by_class["a"] == splits.Tested(patients=3, tested=1, least=2, most=2, mean=2 / 3)
    assert found.by_class["b"].never == 2


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        (SplitConfig(n=1), "one random stratified split, 30 % of the patients tested"),
        (SplitConfig(n=3), "three random stratified splits, 30 % of the patients tested"),
        (SplitConfig(kind="kfold", n=4), "stratified 4-fold cross-validation"),
        (
            SplitConfig(kind="kfold", n=4, repeats=3),
            "stratified 4-fold cross-validation repeated 3 times",
        ),
    ],
)
def test_a_split_is_called_what_it_is(tmp_path: Path, split: SplitConfig, sentence: str) -> None:
    config = tiny_config(tmp_path, split=split)
    tiny_cache(config)
    drawn = splits.ensure(config)
    assert splits.describe(drawn) == splits.describe(splits.read_file(drawn.path)) == sentence
    if split.folds > 1:
        some = splits.describe(drawn, folds=[0])
        assert some.startswith("one of the ")
        assert some.endswith(f"folds of: {sentence}")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"kind": "kfold", "n": 1}, r"split\.n must be at least 2"),
        ({"n": 0}, r"split\.n must be at least 1"),
        ({"repeats": 2}, r"split\.repeats needs split=kfold"),
        ({"kind": "kfold", "groups": 2}, r"split\.groups needs split=source"),
        ({"column": "fold"}, r"split\.column needs split=column"),
        ({"kind": "kfold", "n": 2, "repeats": 2, "fold": 4}, r"split\.fold must lie in 0–3"),
        ({"seed": -1}, r"split\.seed must lie in"),
        ({"kind": "sources"}, "did you mean source"),
    ],
)
def test_keys_that_do_not_belong_together_are_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SplitConfig(**values)  # type: ignore[arg-type]


def test_every_kind_has_its_choice_in_conf() -> None:
    folder = Path(__file__).resolve().parents[2] / "conf" / "split"
    assert {path.stem for path in folder.glob("*.yaml")} == set(SPLITS)


def test_the_order_of_the_users_folds_is_one_also_where_a_value_reads_as_no_number() -> None:
    orders = itertools.permutations(["nan", "10", "2", "b"])
    assert {tuple(sorted(values, key=_natural)) for values in orders} == {("2", "10", "b", "nan")}


def test_folds_of_equal_shares_are_named_together() -> None:
    labels = {"a": 6, "b": 6}
    subjects = {
        f"{label}{n}": Subject(f"{label}{n}", f"{label}{n}", "site", label, f"hash-{label}-{n}")
        for label, count in labels.items()
        for n in range(count)
    }

    def tested(*names: str) -> Fold:
        return Fold(tuple(sorted(set(subjects) - set(names))), (), names)

    folds = [tested("a0", "a1", "a2", "b0"), tested("a3", "a4", "a5", "b1"), tested("a0", "b2")]
    [note] = notes_on(folds, subjects, ("a", "b"), SPLITS["kfold"])
    assert note == (
        "class shares differ from the cohort's by more than five points: a (50 % of the cohort) is "
        "75 % of the test part of folds 0 and 1, b (50 % of the cohort) is 25 % of the test part "
        "of folds 0 and 1 and 2 more"
    )
