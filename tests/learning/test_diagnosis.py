"""Each verdict, on a cohort made so that it is the right one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from sklearn.metrics import roc_auc_score

from stfmri import check
from stfmri.learning.diagnosis import Pipeline, diagnose, macro_auc
from stfmri.learning.findings import ByHeart, Diagnosis, HeldOut
from stfmri.study import config as configuration
from stfmri.study import splits
from stfmri.study.config import Config
from stfmri.study.config.split import SplitConfig
from stfmri.study.config.training import ModelConfig, TrainConfig
from stfmri.study.serialise import dump_yaml
from stfmri.study.shards import IndexRow, Volumes, voxel_sha256, write_index, write_shard
from tests.tiny import CLASSES, tiny_cache, tiny_config

FAST = TrainConfig(
    optimizer="adamw", learning_rate=3e-3, batch_size=6, epochs=8, precision="fp32", threads=1,
    batch_norm="recomputed",
)  # fmt: skip
SECONDS = 60.0  # most; a few on a machine without other work


@pytest.fixture(autouse=True)
def fresh_accelerator() -> None:
    """Accelerate keeps one state a process."""
    AcceleratorState._reset_state(reset_partial_state=True)


def config_in(root: Path, train: TrainConfig = FAST) -> Config:
    model = ModelConfig(name="sfcn", dropout=0.0)
    return tiny_config(root, train=train, model=model, split=SplitConfig(n=2, test_fraction=0.2))


def rewrite(config: Config, rows: list[IndexRow], volumes: np.ndarray) -> None:
    """Put other voxels into the tiny cohort's one shard."""
    shutil.rmtree(config.cache)
    config.cache.mkdir(parents=True)
    ids = [row.subject_id for row in rows]
    affines = np.repeat(np.diag([10.0, 10, 10, 1])[None], len(rows), axis=0)
    chain = dump_yaml({**config.chain, "extraction": "none"})
    file = config.cache / "shard-0000.h5"
    write_shard(file, volumes, affines, ids, ids, config.data.channels, chain)
    hashed = [
        replace(row, sha256=voxel_sha256(volume)) for row, volume in zip(rows, volumes, strict=True)
    ]
    write_index(config.cache, hashed)


def verdict(config: Config, seconds: float = SECONDS, recommended: TrainConfig = FAST) -> str:
    volumes = Volumes(config.cache, splits.rows_of(config))
    pipeline = Pipeline(config, splits.ensure(config), volumes, Accelerator(cpu=True))
    return diagnose(pipeline, config.train, recommended, seconds).verdict


def test_a_cohort_whose_brightness_tells_the_class_is_learned(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    tiny_cache(config, per_class=10)
    assert verdict(config).startswith("learns: on ")


def test_of_two_patients_a_class_one_is_learned_and_one_is_predicted(tmp_path: Path) -> None:
    config = replace(config_in(tmp_path), split=SplitConfig(n=1, test_fraction=1 / 3))
    tiny_cache(config, per_class=3)
    volumes = Volumes(config.cache, splits.rows_of(config))
    split = splits.ensure(config)
    assert len(split.folds[0].train) == 6
    pipeline = Pipeline(config, split, volumes, Accelerator(cpu=True))
    found = pipeline.held_out(FAST, 1, shuffled=False, tell=lambda _: None)
    assert found.subjects == 3


def test_volumes_that_say_nothing_of_the_class_have_no_signal(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    rows = tiny_cache(config, per_class=10)
    noise = np.random.default_rng(5).random((len(rows), 1, 12, 12, 12)).astype(np.float16)
    rewrite(config, rows, noise)
    assert verdict(config).startswith("no signal: ")


def test_a_learning_rate_that_moves_nothing_is_a_poor_recipe(tmp_path: Path) -> None:
    config = config_in(tmp_path, replace(FAST, learning_rate=1e-9))
    tiny_cache(config, per_class=10)
    assert verdict(config, seconds=12).startswith("recipe: 8 volumes are learned by heart")


def test_volumes_that_are_all_alike_look_like_a_bug(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    rows = tiny_cache(config, per_class=10)
    # The least difference, so that they do not count as copies of one volume.
    alike = np.full((len(rows), 1, 12, 12, 12), 0.5, dtype=np.float16)
    alike[np.arange(len(rows)), 0, 0, 0, 0] = np.arange(len(rows)) * 1e-3
    rewrite(replace(config, split=replace(config.split, near_duplicates="apart")), rows, alike)
    apart = replace(config, split=replace(config.split, near_duplicates="apart"))
    assert verdict(apart, seconds=8).startswith("bug: not even 8 volumes")


def test_the_area_of_every_dealing_is_scikit_learns() -> None:
    generator = np.random.default_rng(2)
    probabilities = generator.dirichlet(np.ones(3), size=20).round(1)  # with ties
    labels = np.array([generator.permutation(np.arange(20) % 3) for _ in range(4)])
    ours = macro_auc(probabilities, labels)
    for area, dealt in zip(ours, labels, strict=True):
        theirs = [roc_auc_score(dealt == k, probabilities[:, k]) for k in range(3)]
        assert area == pytest.approx(np.mean(theirs), abs=1e-12)


def test_no_test_subject_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_in(tmp_path)
    tiny_cache(config, per_class=10)
    split = splits.ensure(config)
    read: set[str] = set()
    original = Volumes.__getitem__

    def noted(self: Volumes, subject_id: str) -> np.ndarray:
        read.add(subject_id)
        return original(self, subject_id)

    monkeypatch.setattr(Volumes, "__getitem__", noted)
    verdict(config, seconds=2)
    assert read
    assert read <= set(split.folds[0].train)


def test_the_command_prints_the_verdict_and_says_it_by_its_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_in(tmp_path)
    tiny_cache(config, per_class=10)
    file = tmp_path / "runs" / "one" / "fold0" / "config.yaml"
    configuration.save(config, file)
    status = check.main(["--config", str(file), "--seconds", "60"])
    out = capsys.readouterr().out
    assert (status, out.partition(":")[0]) in ((0, "learns"), (1, "recipe"))
    assert len(out.splitlines()) == 1
    assert set(CLASSES) == set(config.data.classes)
    with pytest.raises(SystemExit) as stopped:
        check.main(["--config", str(file), "--seconds", "0"])
    assert stopped.value.code == 2


def test_few_steps_in_the_time_given_are_no_sign_of_a_bug() -> None:
    slow = ByHeart((0.69, 0.4), 20.0)
    found = HeldOut(0.84, 0.001, 19)
    said = Diagnosis(slow, slow, found, HeldOut(0.54, 0.4, 19)).verdict
    assert said.startswith("too little time: 2 steps were taken within 20 s")
