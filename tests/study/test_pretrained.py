from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stfmri.study import cards, duplicates, pretrained, splits
from stfmri.study.cards import Card, Seen
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from stfmri.study.config.split import SplitConfig
from stfmri.study.config.training import ModelConfig
from stfmri.study.duplicates import Pair
from stfmri.study.errors import ConfigError, LeakageError, UserError
from stfmri.study.files import sha256_of
from stfmri.study.shards import IndexRow
from tests.tiny import tiny_cache, tiny_config


def config_of(root: Path, name: str = "other", **changes: Any) -> Config:
    model = ModelConfig(weights=f"pretrained:{name}")
    return tiny_config(root, **{"model": model, **changes})


def card_of(config: Config, subjects: list[Seen], **changes: Any) -> Card:
    card = Card(
        name="other",
        network="r3d_18",
        stem="basic",
        slice_axis="axial",
        channels=config.data.channels,
        shape=config.preprocessing.shape,
        cohort=config.data.name,
        task="supervised",
        method="trained to classify sex (F, M)",
        label="sex",
        classes=("F", "M"),
        fold=None,
        split_sha256="",
        chain=config.chain,
        licence="CC BY-SA 3.0",
        seed=0,
        epochs=2,
        final={"train_loss": 0.5},
        code={"commit": "abc", "changed": False},
        weights_sha256="",
        subjects=tuple(subjects),
    )
    return replace(card, **changes)


def publish(config: Config, subjects: list[Seen], **changes: Any) -> Path:
    """Weights of these subjects under the root of `config`; their file holds no tensors."""
    fold = changes.get("fold")
    folder = pretrained.folder_of(Path(config.root), "other", fold)
    folder.mkdir(parents=True)
    (folder / "weights.pt").write_bytes(b"weights")
    digest = sha256_of(folder / "weights.pt")
    cards.write(card_of(config, subjects, weights_sha256=digest, **changes), folder)
    return folder


def seen(rows: list[IndexRow], **changes: str) -> list[Seen]:
    return [
        Seen(
            row.subject_id,
            changes.get("patient_id", row.patient_id),
            changes.get("sha256", row.sha256),
        )
        for row in rows
    ]


def sides_of(config: Config, rows: list[IndexRow]) -> tuple[list[IndexRow], list[IndexRow]]:
    fold = splits.ensure(config).folds[config.split.fold]
    by_id = {row.subject_id: row for row in rows}
    return [by_id[name] for name in fold.test], [by_id[name] for name in fold.train]


def check(config: Config) -> pretrained.Pretrained | None:
    return pretrained.check(config, splits.ensure(config))


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    card = card_of(config, [Seen("a", "b", "c")])
    cards.write(card, tmp_path / "made")
    assert cards.read(tmp_path / "made" / "card.json") == card
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700


def test_the_readable_card_names_nobody(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    cards.write(card_of(config, [Seen("subject-7", "patient-7", "hash-7")]), tmp_path)
    text = (tmp_path / "card.md").read_text()
    assert "trained to classify sex (F, M)" in text
    assert "CC BY-SA 3.0" in text
    assert not any(name in text for name in ("subject-7", "patient-7", "hash-7"))
    assert "subject-7" not in json.dumps(card_of(config, [Seen("subject-7", "p", "h")]).summary())


def test_weights_of_training_subjects_alone_are_taken(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    _, trained = sides_of(config, tiny_cache(config))
    publish(config, seen(trained))
    found = check(config)
    assert found is not None
    assert found.card.name == "other"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"patient_id": "nobody"}, "the same volume"), ({"sha256": "none"}, "the same patient")],
)
def test_a_tested_subject_that_was_pre_trained_on_is_refused_by_name(
    tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    config = config_of(tmp_path)
    tested, trained = sides_of(config, tiny_cache(config))
    publish(config, [*seen(trained), *seen(tested[:1], **changes)])
    with pytest.raises(LeakageError, match=rf"{tested[0].subject_id} \({reason}\)") as error:
        check(config)
    assert "\n" not in str(error.value)
    assert "--all-folds" in str(error.value)


def test_a_patients_id_means_another_person_in_another_cohort(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    tested, _ = sides_of(config, tiny_cache(config))
    publish(config, seen(tested, sha256="none"), cohort="elsewhere")
    assert check(config) is not None


def test_a_scan_almost_like_a_tested_one_is_refused_unless_the_split_keeps_them_apart(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path, split=SplitConfig(n=2, near_duplicates="apart"))
    tested, trained = sides_of(config, tiny_cache(config))
    publish(config, seen(trained[:1]))
    pair = Pair(trained[0].subject_id, tested[0].subject_id, 0.99)
    duplicates.write(config.cache, [pair])
    assert check(config) is not None
    together = replace(config, split=replace(config.split, near_duplicates="together"))
    split = splits.ensure(config)  # of a cohort in which the pair was not yet known
    expected = rf"{tested[0].subject_id} \(almost the same scan as {trained[0].subject_id}\)"
    with pytest.raises(LeakageError, match=expected):
        pretrained.check(together, split)


def test_each_fold_takes_its_own_weights(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    rows = tiny_cache(config)
    for fold in (0, 1):
        own = replace(config, split=replace(config.split, fold=fold))
        publish(own, seen(sides_of(own, rows)[1]), fold=fold)
        found = check(own)
        assert found is not None
        assert found.card.fold == fold


def test_what_is_missing_or_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    tiny_cache(config)
    with pytest.raises(UserError, match=r"no finished pre-trained weights at .*none yet"):
        check(config)
    folder = publish(config, [])
    with pytest.raises(UserError, match=r"there are: other; did you mean other\?$"):
        check(config_of(tmp_path, "othre"))
    with pytest.raises(UserError, match=r"there are: other\. Make them first: .* --name sex$"):
        check(config_of(tmp_path, "sex"))
    mixed = replace(config, model=replace(config.model, name="mc3_18"))
    with pytest.raises(UserError, match=r"holds weights of r3d_18 .* trains mc3_18"):
        check(mixed)
    submitted = replace(config, model=replace(config.model, weights_hash="0" * 64))
    with pytest.raises(UserError, match="has been made again since the run was submitted"):
        check(submitted)
    (folder / "weights.pt").write_bytes(b"others")
    with pytest.raises(UserError, match=r"is not the file that its card.json describes"):
        check(config)
    (folder / "card.json").write_text("{}")
    with pytest.raises(UserError, match="is no card of pre-trained weights"):
        check(config)


def test_other_channels_are_refused_by_their_number_and_order(tmp_path: Path) -> None:
    two = DataConfig(name="tiny", classes=("LGG", "HGG", "Healthy"), contrasts=("t1", "flair"))
    config = config_of(tmp_path, data=two)
    tiny_cache(config)
    publish(config, [], channels=("flair", "t1"))
    with pytest.raises(UserError, match="channels flair, t1; the run has t1, flair"):
        check(config)


def test_another_grid_goes_unsaid_and_another_chain_is_said(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    tiny_cache(config)
    chain = {**config.chain, "preprocessing.spacing_mm": 2.0}
    folder = publish(config, [], chain=chain)
    assert pretrained.notes(config) == []
    card = cards.read(folder / "card.json")
    chain |= {"preprocessing.skullstrip": "none"}
    cards.write(replace(card, chain=chain, channels=("flair",)), folder)
    (note,) = pretrained.notes(config)
    assert "preprocessing.skullstrip was none, is deepbet" in note
    assert "data.contrasts was flair, is scan" in note


@pytest.mark.parametrize(("loss", "said"), [(0.69, True), (0.5, False)])
def test_weights_that_hardly_learned_their_task_are_said_to(
    loss: float, said: bool, tmp_path: Path
) -> None:
    config = config_of(tmp_path)
    tiny_cache(config)
    publish(config, [], final={"train_loss": loss, "guessing_loss": 0.693})
    assert any("hardly learned" in note for note in pretrained.notes(config)) is said


@pytest.mark.parametrize("weights", ["pretrained:", "pretrained:../up", "pretrained", "kinetic"])
def test_a_name_that_is_none_is_refused(weights: str) -> None:
    with pytest.raises(UserError):
        ModelConfig(weights=weights)


def test_a_slip_in_the_kind_of_weights_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="did you mean kinetics"):
        ModelConfig(weights="kinetic")
