from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from stfmri.evidence.methods.network_text import INITIAL
from stfmri.evidence.methods.pretraining_text import pretraining
from stfmri.evidence.methods.settings import Settings
from stfmri.evidence.methods.study import Study
from stfmri.study.config import Config
from stfmri.study.config.training import ModelConfig, TrainConfig


def study(cards: list[dict[str, Any] | None], **train: Any) -> Study:
    config = Config(model=ModelConfig(weights="pretrained:sex"), train=TrainConfig(**train))
    records = tuple({"pretraining": card} for card in cards)
    return cast(Study, SimpleNamespace(provenances=records, settings=Settings.of([config])))


def card(fold: int | None, subjects: int) -> dict[str, Any]:
    return {
        "name": "sex",
        "network": "mc3_18",
        "method": "trained to classify sex (F and M)",
        "cohort": "ixi_hh",
        "fold": fold,
        "subjects": subjects,
        "epochs": 50,
        "seed": 0,
    }


def test_weights_of_each_fold_are_one_sentence() -> None:
    assert pretraining(study([card(0, 76), card(1, 77), None])) == (
        "The weights sex (mc3_18) were trained to classify sex (F and M), on 76–77 volumes of the "
        "cohort ixi_hh, within each fold on its training subjects alone, for 50 epochs from seed "
        "0; no subject that they were trained on was tested.",
    )


def test_fine_tuning_is_said_where_there_is_some() -> None:
    _, frozen, decay = pretraining(study([card(None, 96)], freeze=2, layer_decay=0.7))
    assert frozen == "The first 2 stages of pre-trained networks kept their weights."
    assert decay == (
        "The learning rate of pre-trained networks fell by a factor of 0.7 from each stage to the "
        "one before it."
    )


def test_nothing_is_said_where_nothing_was_pre_trained() -> None:
    assert pretraining(study([None], freeze=2)) == ()


def test_the_start_names_the_weights() -> None:
    assert study([]).settings.said(INITIAL) == (
        "weights pre-trained on MRI (sex; with a new classification head)"
    )
