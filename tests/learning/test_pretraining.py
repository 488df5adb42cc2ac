from __future__ import annotations

import itertools
import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from stfmri.learning import models, stages, training
from stfmri.learning.data import Batch
from stfmri.learning.learner import Learner
from stfmri.learning.pretraining import loading
from stfmri.learning.pretraining import request as requests
from stfmri.learning.pretraining.instances import EMBEDDING, InstanceHead, blanked
from stfmri.learning.pretraining.request import Request
from stfmri.learning.pretraining.run import pretrain
from stfmri.learning.pretraining.targets import of_column, of_subjects
from stfmri.learning.weights import WeightsError
from stfmri.pretrain import main
from stfmri.study import cards, history, splits
from stfmri.study import config as configuration
from stfmri.study.config import Config
from stfmri.study.config.training import ModelConfig
from stfmri.study.duplicates import Pair
from stfmri.study.errors import ConfigError, LeakageError, UserError
from stfmri.study.shards import IndexRow, read_index, write_index
from tests.tiny import tiny_cache, tiny_config


@pytest.fixture(autouse=True)
def fresh_accelerator() -> None:
    """Accelerate keeps one state a process; each training here stands for a process of its own."""
    AcceleratorState._reset_state(reset_partial_state=True)


def cohort(root: Path, **changes: Any) -> Config:
    """A tiny cohort with the columns `sex` and `age`, for one small network."""
    config = tiny_config(root, model=ModelConfig(name="mc3_18"), **changes)
    config = replace(config, train=replace(config.train, batch_size=6))
    rows = [
        replace(row, columns={**row.columns, "sex": "FM"[n % 2], "age": str(20 + 3 * n)})
        for n, row in enumerate(tiny_cache(config))
    ]
    write_index(config.cache, rows)
    return config


def weights_of(request: Request) -> dict[str, Tensor]:
    return torch.load(request.folder / "weights.pt", weights_only=True)


def rows_with(**columns: list[str]) -> list[IndexRow]:
    count = len(next(iter(columns.values())))
    return [
        IndexRow(
            f"s{n}",
            f"p{n}",
            f"site-{n % 2}",
            "",
            n,
            "",
            str(n),
            {k: v[n] for k, v in columns.items()},
        )
        for n in range(count)
    ]


def test_a_column_of_names_gives_its_classes_and_leaves_out_who_has_none() -> None:
    found = of_column(rows_with(sex=["F", "M", "n/a", "F"]), "sex", bins=5)
    assert (found.classes, found.labels) == (("F", "M"), (0, 1, 0))
    assert [row.subject_id for row in found.rows] == ["s0", "s1", "s3"]
    assert found.note == "1 subject without sex left out"


def test_a_column_of_measures_gives_quantile_classes_of_equal_size() -> None:
    ages = [str(age) for age in np.random.default_rng(0).permutation(100)]
    found = of_column(rows_with(age=ages), "age", bins=5)
    assert np.bincount(found.labels).tolist() == [20] * 5
    by_class = [
        [int(age) for age, label in zip(ages, found.labels, strict=True) if label == number]
        for number in range(5)
    ]
    assert all(max(low) < min(high) for low, high in itertools.pairwise(by_class))


def test_few_numbers_are_names_of_classes() -> None:
    assert of_column(rows_with(grade=["3", "4", "3"]), "grade", bins=5).classes == ("3", "4")


def test_the_source_may_be_learned() -> None:
    assert of_column(rows_with(a=[""] * 3), "source", bins=5).classes == ("site-0", "site-1")


def test_a_column_that_teaches_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="at least two classes to learn from, found F"):
        of_column(rows_with(sex=["F", "F"]), "sex", bins=5)
    with pytest.raises(ConfigError, match="no such column; it has source and sex"):
        of_column(rows_with(sex=["F", "M"]), "gender", bins=5)
    with pytest.raises(UserError, match="another value for each of 3 scans"):
        of_column(rows_with(path=["a", "b", "c"]), "path", bins=5)


def test_scans_of_one_patient_and_near_duplicates_are_one_class() -> None:
    rows = rows_with(a=[""] * 4)
    rows[1] = replace(rows[1], patient_id="p0")
    found = of_subjects(rows, [Pair("s2", "s3", 0.99)])
    assert found.count == 2
    assert found.labels[0] == found.labels[1] != found.labels[2] == found.labels[3]


@pytest.mark.parametrize("task", ["supervised", "self"])
def test_its_weights_are_the_networks_without_the_head_and_load_again(
    tmp_path: Path, task: str
) -> None:
    config = cohort(tmp_path)
    request = Request(config, "made", task, "sex" if task == "supervised" else "")
    pretrain(request)
    state = weights_of(request)
    network = models.build(config.model, 3, seed=5)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert set(state) == {key for key in before if not key.startswith("fc.")}
    loading.load_pretrained(network, "fc", request.folder / "weights.pt")
    after = network.state_dict()
    assert all(torch.equal(after[key], state[key]) for key in state)
    assert all(torch.equal(after[key], before[key]) for key in set(before) - set(state))
    assert not torch.equal(before["stem.0.weight"], after["stem.0.weight"])


def test_another_networks_file_is_refused_naming_a_key(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save(models.build(ModelConfig(name="r2plus1d_18"), 2, seed=0).state_dict(), file)
    network = models.build(ModelConfig(name="mc3_18"), 2, seed=0)
    with pytest.raises(WeightsError, match=r"another network: \S+ is"):
        loading.load_pretrained(network, "fc", file)
    torch.save(models.build(ModelConfig(name="mc3_18"), 2, 0, channels=2).state_dict(), file)
    with pytest.raises(WeightsError, match=r"stem.0.weight is of the shape \(64, 2, "):
        loading.load_pretrained(network, "fc", file)


def test_the_card_says_what_was_seen(tmp_path: Path) -> None:
    config = cohort(tmp_path)
    request = Request(config, "ages", "supervised", "age", bins=3, licence="CC BY-SA 3.0")
    pretrain(request)
    card = cards.read(request.folder / "card.json")
    assert (card.network, card.cohort, card.label, card.fold) == ("mc3_18", "tiny", "age", None)
    assert (card.licence, card.epochs, len(card.classes)) == ("CC BY-SA 3.0", 2, 3)
    assert card.chain["preprocessing.spacing_mm"] == 10
    rows = read_index(config.cache)
    assert [(s.patient_id, s.sha256) for s in card.subjects] == [
        (row.patient_id, row.sha256) for row in rows
    ]
    assert not (request.folder / "checkpoint").exists()
    assert request.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("task", ["supervised", "self"])
def test_a_folds_weights_do_not_depend_on_who_is_tested(tmp_path: Path, task: str) -> None:
    label = "sex" if task == "supervised" else ""
    made = []
    for poison in (False, True):
        config = cohort(tmp_path / str(poison))
        request = Request(config, "made", task, label, fold=0)
        tested = set(splits.ensure(config).folds[0].test)
        if poison:  # volumes that would break the loss, and labels of nobody else
            poisoned(config, tested)
        pretrain(request)
        card = cards.read(request.folder / "card.json")
        assert tested.isdisjoint(seen.subject_id for seen in card.subjects)
        made.append(weights_of(request))
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])


def poisoned(config: Config, tested: set[str]) -> None:
    """NaN for every voxel of the tested subjects, and labels of nobody else.

    The index keeps the hashes of before, so that the folds stay as they were.
    """
    changed = []
    with h5py.File(config.cache / "shard-0000.h5", "r+") as shard:
        for row in read_index(config.cache):
            if row.subject_id in tested:
                shard["volumes"][row.row] = np.nan
                row = replace(row, columns={**row.columns, "sex": "?", "age": "1000"})
            changed.append(row)
    write_index(config.cache, changed)


def command(root: Path, name: str, *more: str) -> list[str]:
    """A call that pre-trains on the cohort of `cohort`, in four epochs."""
    settings = [
        *("data.name=tiny", "model=mc3_18", "preprocessing.spacing_mm=10", "split.n=2"),
        *("preprocessing.field_mm=[120,120,120]", "data.classes=[LGG,HGG,Healthy]"),
        *("train=paper", "train.epochs=6", "train.batch_size=6", "checkpoint.every_s=0"),
        *("train.precision=fp32", "train.threads=1"),
    ]
    return ["--root", str(root), "--task", "self", "--name", name, *settings, *more]


def test_a_killed_pre_training_goes_on_to_the_same_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort(tmp_path)
    called = [sys.executable, "-m", "stfmri.pretrain", *command(tmp_path, "killed")]
    process = subprocess.Popen(called, stdout=subprocess.DEVNULL)
    folder = tmp_path / "data" / "pretrained" / "killed"
    while not list(folder.glob("checkpoint/epoch-*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "card.json").exists()
    for name in ("killed", "whole"):
        assert main(command(tmp_path, name)) == 0
    killed, whole = (
        torch.load(folder.with_name(name) / "weights.pt", weights_only=True)
        for name in ("killed", "whole")
    )
    assert all(torch.equal(killed[key], whole[key]) for key in whole)
    assert len((folder / "metrics.csv").read_text().splitlines()) == 7
    assert main(command(tmp_path, "whole")) == 0
    assert "is done already" in capsys.readouterr().out


def test_the_same_name_with_other_settings_is_refused_naming_them(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    requests.keep(Request(config, "made", "self"))
    elsewhere = replace(config, train=replace(config.train, threads=4))
    requests.require_same(Request(elsewhere, "made", "self", licence="CC0"))
    longer = replace(config, train=replace(config.train, epochs=9))
    with pytest.raises(UserError, match=r"begun with other values: train\.epochs was 2, now 9"):
        requests.require_same(Request(longer, "made", "self"))
    with pytest.raises(
        UserError, match="--task was self, now supervised and --label was , now sex"
    ):
        requests.require_same(Request(config, "made", "supervised", "sex"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--label", "sex"], "--task self learns no label"),
        (["--task", "supervised"], "--task supervised needs --label COLUMN"),
        (["--task", "supervised", "--label", "gender"], "the cohort has no such column"),
        (["--fold", "7"], "--fold must be one of 0 and 1, found 7"),
        (["--sweep", "full"], "weights are of one network"),
        (["data.name=none"], "no preprocessed volumes"),
        (["--bins", "1"], "--bins must be at least 2"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    cohort(tmp_path)
    called = [
        item
        for item in command(tmp_path, "wrong")
        if "--sweep" not in more or item != "model=mc3_18"
    ]
    assert main([*called, *more]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("data/pretrained/**/request.yaml"))  # the name is still free


def run_file(config: Config, name: str) -> Path:
    file = Path(config.root) / "runs" / name / "variant" / "fold0" / "config.yaml"
    configuration.save(config, file)
    return file


def tuned(config: Config, **train: Any) -> Config:
    """A run of fold 0 that starts from the weights `made`."""
    model = replace(config.model, weights="pretrained:made")
    return replace(config, model=model, train=replace(config.train, **train))


def test_a_run_starts_from_its_folds_weights_and_records_their_card(tmp_path: Path) -> None:
    config = cohort(tmp_path)
    request = Request(config, "made", "supervised", "sex", fold=0)
    pretrain(request)
    changes = {"freeze": 2, "layer_decay": 0.5, "batch_norm": "recomputed"}
    file = run_file(tuned(config, **changes), "tuned")
    training.train_run(file)
    state = torch.load(file.parent / "model.pt", weights_only=True)["state_dict"]
    before = weights_of(request)
    moved = {key for key in before if not torch.equal(state[key], before[key])}
    assert not {key for key in moved if key.startswith(("stem.", "layer1."))}
    assert {"layer2.0.conv1.0.weight", "layer4.1.conv2.1.running_mean"} <= moved
    record = json.loads((file.parent / "provenance.json").read_text())
    assert record["pretraining"]["method"] == "trained to classify sex (F and M)"
    assert record["pretraining"]["fold"] == 0


def test_a_run_refuses_weights_that_saw_whom_it_tests(tmp_path: Path) -> None:
    config = cohort(tmp_path)
    pretrain(Request(config, "made", "self"))
    file = run_file(tuned(config), "leaking")
    with pytest.raises(LeakageError, match="was pre-trained on 4 subjects that fold 0 tests"):
        training.train_run(file)


def test_each_stage_learns_at_its_own_rate(tmp_path: Path) -> None:
    config = tuned(
        tiny_config(tmp_path, model=ModelConfig(name="mc3_18")), layer_decay=0.5, freeze=1
    )
    network = models.build(config.model, 2, seed=0)
    learner = Learner(network, config, torch.ones(2), Accelerator(cpu=True), batches=1)
    volume = torch.rand(2, 1, 12, 12, 12)
    learner.learn([Batch(volume, torch.tensor([0, 1]), [0, 1])])
    rates = {
        parameter: group["lr"]
        for group in learner.optimizer.param_groups
        for parameter in group["params"]
    }
    by_name = {
        name.split(".")[0]: rates[parameter]
        for name, parameter in network.named_parameters()
        if parameter in rates
    }
    assert by_name == {
        "layer1": pytest.approx(1e-3 / 16),
        "layer2": pytest.approx(1e-3 / 8),
        "layer3": pytest.approx(1e-3 / 4),
        "layer4": pytest.approx(1e-3 / 2),
        "fc": pytest.approx(1e-3),
    }


def test_a_network_from_scratch_is_trained_as_a_whole(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, model=ModelConfig(name="mc3_18"))
    config = replace(config, train=replace(config.train, freeze=2, layer_decay=0.5))
    frozen, scales = stages.fine_tuned(models.build(config.model, 2, seed=0), config)
    assert (frozen, scales) == ((), {})


def test_what_is_blanked_depends_on_the_seed_alone_and_is_a_box() -> None:
    volume = torch.ones(2, 10, 12, 8)
    once, again = blanked(volume, (0, 1, 2)), blanked(volume, (0, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, blanked(volume, (0, 1, 3)))
    sides = [len(torch.unique(axis)) for axis in torch.nonzero(once[0] == 0).T]
    assert int((once[0] == 0).sum()) == math.prod(sides)
    assert torch.equal(once[0], once[1])
    assert all(
        0.2 * n - 0.5 <= side <= 0.5 * n + 0.5 for side, n in zip(sides, (10, 12, 8), strict=True)
    )


def test_the_loss_of_self_supervision_falls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = cohort(tmp_path)
    train = replace(config.train, epochs=10)
    pretrain(Request(replace(config, train=train), "made", "self"))
    losses = history.read(tmp_path / "data/pretrained/made/metrics.csv")["train_loss"]
    assert min(losses[-3:]) < 0.8 * losses[0]
    assert "hardly learned" not in capsys.readouterr().out


def test_embeddings_of_patients_turn_as_fast_as_the_learning_rate_lets_them() -> None:
    head = InstanceHead(features=8, patients=5)
    before = head.patients.detach().clone()
    rate = 0.01
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.0)
    nn.functional.cross_entropy(head(torch.randn(4, 8)), torch.arange(4)).backward()
    optimiser.step()
    cosines = nn.functional.cosine_similarity(before, head.patients.detach(), dim=1)
    # Adam's first step moves each of the numbers of a row by the rate.
    turned = torch.arccos(cosines.clamp(max=1))
    assert (turned > 0.9 * math.atan(rate * math.sqrt(EMBEDDING))).all()


def test_the_end_names_the_loss_of_guessing_and_warns_where_nothing_was_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = cohort(tmp_path)
    config = replace(config, train=replace(config.train, epochs=1, learning_rate=1e-9))
    request = Request(config, "made", "self")
    pretrain(request)
    # Each of 12 patients is a class, weighted by 1 - 1/12.
    guessing = math.log(12) * 11 / 12
    assert cards.read(request.folder / "card.json").final["guessing_loss"] == pytest.approx(
        guessing
    )
    said = capsys.readouterr().out
    assert f"that of guessing is {guessing:.3g}" in said
    assert "hardly learned" in said
    assert "train.epochs=2" in said
