"""A run that chooses: on its own training subjects alone, once, and the same after every kill."""

from __future__ import annotations

import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from scipy import stats

from stfmri.learning import choosing, models
from stfmri.learning.loss import class_weights, weighted_loss
from stfmri.learning.training import train_run
from stfmri.study import config as configuration
from stfmri.study import predictions, selection, splits
from stfmri.study.config import Config
from stfmri.study.config.split import SplitConfig
from stfmri.study.config.training import TrainConfig
from stfmri.study.errors import TrainingError, UserError
from stfmri.study.locks import lock
from stfmri.study.runs import Run, Sweep
from stfmri.study.shards import Volumes, read_index
from tests.learning.small import small_network
from tests.selecting import RATES, selecting_config, selecting_sweep
from tests.tiny import tiny_cache

__all__ = ["small_network"]  # a fixture
pytestmark = pytest.mark.usefixtures("small_network")


@pytest.fixture(autouse=True)
def fresh_accelerator() -> None:
    """Accelerate keeps one state a process; each training here stands for a process of its own."""
    AcceleratorState._reset_state(reset_partial_state=True)


def train(run: Run) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    # As one of two: the device's peak, which takes a second to measure, is not to be had then.
    choosing.train(run.config_file, side_by_side=2)


def rows_of(run: Run) -> tuple[predictions.Prediction, ...]:
    return predictions.read(run.folder / "predictions.csv").rows


def chosen_by(run: Run) -> selection.Selection:
    found = selection.read(run.folder)
    assert found is not None
    return found


def test_the_chosen_candidate_trains_on_the_whole_training_part_like_a_run_of_its_own(
    tmp_path: Path,
) -> None:
    sweep = selecting_sweep(selecting_config(tmp_path))
    run = sweep.runs[0]
    train(run)
    chosen = chosen_by(run)
    values = chosen.winner.values
    plain = replace(
        sweep.config_of(run), sweep=replace(sweep.config.sweep, select={}, name="plain")
    )
    plain = replace(plain, train=replace(plain.train, learning_rate=values["train.learning_rate"]))
    file = tmp_path / "plain" / "config.yaml"
    configuration.save(plain, file)
    AcceleratorState._reset_state(reset_partial_state=True)
    train_run(file)
    assert rows_of(run) == predictions.read(file.parent / "predictions.csv").rows

    record = json.loads((run.folder / "provenance.json").read_text())
    assert record["selection"] == {"chosen": values, "by": "selection.json"}
    used = models.load_trained(run.folder).config
    assert used.train == plain.train
    assert used.split.inner == 0
    # Weights of inner runs are of no more use; what the choice was made on stays.
    for inner in sweep.inner_runs(run):
        assert inner.is_done()
        assert not (inner.folder / "model.pt").exists()
        assert not (inner.folder / "checkpoint").exists()


def test_the_validation_loss_is_the_weighted_cross_entropy_of_the_judging_part(
    tmp_path: Path,
) -> None:
    sweep = selecting_sweep(selecting_config(tmp_path))
    run = sweep.runs[1]
    train(run)
    chosen = chosen_by(run)
    losses = []
    for inner in sweep.inner_runs(run):
        split = splits.ensure(sweep.config_of(inner))
        fold, number = split.folds[1], {name: k for k, name in enumerate(split.classes)}
        label_N = [number[split.subjects[name].label] for name in fold.train]
        rows = rows_of(inner)
        assert {row.subject_id for row in rows} == set(fold.test)
        probability_NK = torch.tensor([row.probabilities for row in rows], dtype=torch.float64)
        weights = class_weights(label_N, len(number)).double()
        judged = torch.tensor([number[row.label] for row in rows])
        losses.append(float(weighted_loss(probability_NK.log(), judged, weights)))
    assert [one.validation_loss for one in chosen.candidates] == pytest.approx(losses, rel=1e-6)
    assert chosen.winner == chosen.candidates[int(np.argmin(losses))]
    assert (chosen.trained, chosen.judged) == (len(fold.train), len(fold.test))


@pytest.fixture
def unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poisoned volumes are not refused, so that what reads them shows."""
    monkeypatch.setattr(Volumes, "verify", lambda self, subject_id: None)


def poison(config: Config, names: tuple[str, ...]) -> None:
    """Overwrite the voxels of some subjects with NaN, behind the back of the index."""
    rows = {row.subject_id: row for row in read_index(config.cache)}
    with h5py.File(config.cache / "shard-0000.h5", "r+") as file:
        for name in names:
            file["volumes"][rows[name].row] = np.nan


@pytest.mark.usefixtures("unverified")
def test_poisoned_test_volumes_change_neither_the_choice_nor_the_training(tmp_path: Path) -> None:
    select = {"train.learning_rate": (1e-4, 1e-2), "train.batch_size": (1, 4)}
    clean = selecting_sweep(selecting_config(tmp_path / "clean", select))
    spoilt = selecting_sweep(selecting_config(tmp_path / "spoilt", select))
    fold = splits.ensure(clean.config).folds[0]
    poison(spoilt.config, fold.test)
    train(clean.runs[0])
    with pytest.raises(predictions.NotFiniteError):  # the test, which comes last, does read them
        train(spoilt.runs[0])
    assert chosen_by(spoilt.runs[0]) == chosen_by(clean.runs[0])
    losses = [
        [line.split(",")[1] for line in (run.folder / "metrics.csv").read_text().splitlines()]
        for run in (clean.runs[0], spoilt.runs[0])
    ]
    assert losses[0] == losses[1]
    # The same poison in the training part does not go unseen.
    other = selecting_sweep(selecting_config(tmp_path / "other", select))
    poison(other.config, fold.train[:1])
    with pytest.raises(TrainingError):
        train(other.runs[0])


SEEDS = range(16)


def noise_sweep(root: Path) -> Sweep:
    """Subjects that differ in the brightness of each octant, which has nothing to do with a class.

    Candidates differ in their seed, and so, after so short a training, in what they make of a
    subject: were they all alike, no choice among them could be seen.
    """
    config = selecting_config(
        root,
        {"train.seed": tuple(SEEDS)},
        split=SplitConfig(kind="kfold", n=5),
        train=TrainConfig(
            epochs=1,
            batch_size=16,
            precision="fp32",
            threads=1,
            learning_rate=1e-4,
            batch_norm="recomputed",
        ),
    )
    tiny_cache(config, per_class=20)
    octants = np.random.default_rng(0).random((60, 1, 2, 2, 2))
    with h5py.File(config.cache / "shard-0000.h5", "r+") as file:
        file["volumes"][...] = np.kron(octants, np.ones((6, 6, 6))).astype(np.float16)
    return selecting_sweep(config)


def right_on_the_test_part(inner: Run, config: Config) -> int:
    """How many of the outer test subjects an inner run's network gets right."""
    trained = models.load_trained(inner.folder)
    split = splits.ensure(config)
    volumes = Volumes(config.cache, splits.rows_of(config))
    names = split.folds[inner.fold].test
    volume_BCDHW = torch.from_numpy(np.stack([volumes[name] for name in names])).float()
    with torch.inference_mode():
        chosen_B = trained.network(volume_BCDHW).argmax(dim=1).tolist()
    return sum(
        trained.classes[chosen] == split.subjects[name].label
        for name, chosen in zip(names, chosen_B, strict=True)
    )


@pytest.mark.slow
@pytest.mark.usefixtures("unverified")
def test_where_labels_are_noise_a_choice_by_test_score_shows_and_ours_stays_at_chance(
    tmp_path: Path,
) -> None:
    sweep = noise_sweep(tmp_path)
    peeked, ours, tested = 0, 0, 0
    for run in sweep.runs:
        inner_runs = sweep.inner_runs(run)
        for inner in inner_runs:
            train(inner)
        peeked += max(right_on_the_test_part(inner, sweep.config_of(run)) for inner in inner_runs)
        train(run)
        rows = rows_of(run)
        ours += sum(row.prediction == row.label for row in rows)
        tested += len(rows)
    assert tested == 60
    chance = stats.binom(tested, 1 / 3)
    assert chance.sf(peeked - 1) < 0.01
    low, high = chance.ppf(0.025), chance.ppf(0.975)
    assert low <= ours <= high
    # The seed is another in most folds: the choice is no constant.
    assert len({chosen_by(run).chosen for run in sweep.runs}) > 1


def test_a_candidate_that_diverges_is_not_chosen(tmp_path: Path) -> None:
    sweep = selecting_sweep(selecting_config(tmp_path, {"train.learning_rate": (1e30, 1e-3)}))
    run = sweep.runs[0]
    train(run)
    first, second = chosen_by(run).candidates
    assert first.validation_loss is None
    assert chosen_by(run).winner == second
    diverged, _ = sweep.inner_runs(run)
    assert diverged.is_done()
    assert "the loss of epoch" in (diverged.folder / "diverged.txt").read_text()
    train(diverged)  # is left alone
    assert not (diverged.folder / "predictions.csv").exists()


def test_where_every_candidate_diverges_nothing_is_chosen(tmp_path: Path) -> None:
    sweep = selecting_sweep(selecting_config(tmp_path, {"train.learning_rate": (1e30, 2e30)}))
    with pytest.raises(TrainingError, match="every candidate"):
        train(sweep.runs[0])
    assert not sweep.runs[0].is_done()


def test_a_choice_is_made_once_and_on_predictions_that_nobody_changed(tmp_path: Path) -> None:
    sweep = selecting_sweep(selecting_config(tmp_path))
    run, inner = sweep.runs[0], sweep.inner_runs(sweep.runs[0])
    train(run)
    right, chosen = rows_of(run), (run.folder / "selection.json").read_bytes()

    (run.folder / "predictions.csv").unlink()
    shutil.rmtree(run.folder / "select")  # to save space, say
    train(run)
    assert rows_of(run) == right
    assert (run.folder / "selection.json").read_bytes() == chosen

    for one in inner:
        configuration.save(sweep.config_of(one), one.config_file)
    (inner[0].folder / "predictions.csv").write_text("edited")
    (run.folder / "predictions.csv").unlink()
    with pytest.raises(UserError, match=r"made on other predictions of learning_rate-0\.0001"):
        train(run)


def test_the_run_does_what_is_missing_and_waits_for_what_a_live_process_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choosing, "POLL_S", 0.05)
    rates = {"train.learning_rate": (1e-4, 3e-4, 1e-3)}
    sweep = selecting_sweep(selecting_config(tmp_path, rates))
    run = sweep.runs[0]
    done, held, missing = sweep.inner_runs(run)
    train(done)
    before = (done.folder / "predictions.csv").stat().st_mtime_ns

    def hold() -> None:
        with lock(held.folder):
            holding.set()
            while not missing.is_done():
                time.sleep(0.01)
            time.sleep(1.0)

    holding = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    holding.wait()
    train(run)
    holder.join()
    assert run.is_done()
    assert f"waiting for {held.folder}, held by process" in capfd.readouterr().out
    written = [(one.folder / "predictions.csv").stat().st_mtime_ns for one in (missing, held)]
    assert before < written[0] < written[1]
    assert (done.folder / "predictions.csv").stat().st_mtime_ns == before


def test_several_processes_wait_until_one_has_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = selecting_sweep(selecting_config(tmp_path, RATES))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="start it once without accelerate"):
        train(sweep.runs[0])
