from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch.optim.optimizer import register_optimizer_step_post_hook

from stfmri.learning import learner, models, optimise, training
from stfmri.learning.data import epoch_order
from stfmri.learning.device import resolve_precision
from stfmri.learning.loss import class_weights, weighted_loss
from stfmri.learning.seeds import Use
from stfmri.study import config as configuration
from stfmri.study import history, predictions, splits
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from stfmri.study.config.split import SplitConfig
from stfmri.study.config.training import AugmentConfig, CheckpointConfig, ModelConfig, TrainConfig
from stfmri.study.errors import ConfigError, RunHeldError, TrainingError, UserError
from stfmri.study.locks import lock
from stfmri.study.serialise import dump_yaml
from stfmri.study.shards import CacheError, Volumes, read_index
from tests.tiny import CLASSES, tiny_cache, tiny_config

# Where the network does not matter: a tenth of the parameters of the others.
SMALL = ModelConfig(name="sfcn")


@pytest.fixture(autouse=True)
def fresh_accelerator() -> None:
    """Accelerate keeps one state a process; each training here stands for a process of its own."""
    AcceleratorState._reset_state(reset_partial_state=True)


def prepare(root: Path, run: str, **changes: object) -> Path:
    """A tiny cache under `root`, and the frozen configuration of a run on it."""
    config = tiny_config(root, **changes)
    if not (config.cache / "index.csv").exists():
        tiny_cache(config)
    file = root / "runs" / run / "r3d_18-scratch" / "fold0" / "config.yaml"
    configuration.save(config, file)
    return file


def probabilities(run: Path) -> np.ndarray:
    return np.array([row.probabilities for row in predictions.read(run / "predictions.csv").rows])


def test_equation_1_on_the_papers_cohort() -> None:
    labels = [0] * 73 + [1] * 259 + [2] * 259
    weights = class_weights(labels, 3)
    expected = [1 - 73 / 591, 1 - 259 / 591, 1 - 259 / 591]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_one_samples_gradient_is_its_class_weight_times_the_unweighted_one(label: int) -> None:
    logits = torch.tensor([[0.3, -1.2, 0.8]], dtype=torch.float64)
    target = torch.tensor([label])
    weight = torch.tensor([0.9, 0.5, 0.6], dtype=torch.float64)
    weighted, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    weighted_loss(weighted, target, weight).backward()
    torch.nn.functional.cross_entropy(plain, target).backward()
    torch.testing.assert_close(weighted.grad, weight[label] * plain.grad)


def test_a_run_writes_every_file_of_the_contract_and_loads_again(tmp_path: Path) -> None:
    file = prepare(tmp_path, "whole")
    training.train_run(file)
    run = file.parent
    config = configuration.load(file)
    split = splits.ensure(config)
    table = predictions.read(run / "predictions.csv")
    predictions.validate(table, CLASSES, 0, split.folds[0].test)
    assert [path.name for path in (run / "checkpoint").iterdir()] == ["epoch-0002"]
    metrics = (run / "metrics.csv").read_text().splitlines()
    assert metrics[0].startswith("epoch,epochs,train_loss,seconds,samples_per_s,wait_share")
    assert len(metrics) == 3
    record = json.loads((run / "provenance.json").read_text())
    assert record["precision"] == "fp32"
    assert record["parameters"] == 33_148_995
    assert record["input"] == "mapped"
    assert record["matrix_peak_share"] > 0
    assert record["peak_memory_bytes"] > 4 * 4 * record["parameters"]  # with gradients and Adam's
    assert {"startup_s", "train_s", "evaluate_s", "checkpoint_s"} <= set(record["timings"])
    trained = models.load_trained(run)
    assert trained.classes == CLASSES
    volumes = Volumes(config.cache, read_index(config.cache))
    first = torch.from_numpy(np.array(volumes[table.rows[0].subject_id]))[None].float()
    with torch.no_grad():
        again = trained.network(first).softmax(dim=1)[0].numpy()
    np.testing.assert_allclose(again, table.rows[0].probabilities, atol=1e-4)
    assert run.stat().st_mode & 0o777 == 0o700


def test_a_finished_run_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one_epoch = replace(tiny_config(tmp_path).train, epochs=1)
    file = prepare(tmp_path, "twice", model=SMALL, train=one_epoch)
    training.train_run(file)
    before = (file.parent / "predictions.csv").stat().st_mtime_ns
    AcceleratorState._reset_state(reset_partial_state=True)
    training.train_run(file)
    assert (file.parent / "predictions.csv").stat().st_mtime_ns == before
    assert "is done already" in capfd.readouterr().out


def test_another_folds_predictions_do_not_count_as_this_runs(tmp_path: Path) -> None:
    one_epoch = replace(tiny_config(tmp_path).train, epochs=1)
    file = prepare(tmp_path, "fold", model=SMALL, train=one_epoch)
    training.train_run(file)
    table = file.parent / "predictions.csv"
    right = table.read_text()
    table.write_text(right.replace(",0,test,", ",1,test,"))
    AcceleratorState._reset_state(reset_partial_state=True)
    training.train_run(file)
    assert table.read_text() == right


def test_a_second_process_on_a_run_is_refused_naming_the_holder(tmp_path: Path) -> None:
    file = prepare(tmp_path, "held")
    with lock(file.parent), pytest.raises(RunHeldError, match=str(os.getpid())):
        training.train_run(file)


def train_in_a_process(file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stfmri.train", "--config", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("moment", "contrasts", "early_stopping"),
    [
        ("in an epoch", ("t1ce", "flair"), 0),
        ("while a checkpoint is written", (), 0),
        ("at the end", (), 2),
    ],
)
def test_a_run_killed_and_started_again_predicts_as_if_never_interrupted(
    tmp_path: Path, moment: str, contrasts: tuple[str, ...], early_stopping: int
) -> None:
    settings = {
        "split": SplitConfig(n=2, val_fraction=0.4 if early_stopping else 0.0),
        "data": DataConfig(name="tiny", classes=CLASSES, contrasts=contrasts),
        "train": TrainConfig(
            epochs=3,
            precision="fp32",
            threads=1,
            learning_rate=1e-3,
            batch_size=2,
            optimizer="adamw",
            schedule="cosine",
            warmup=0.3,
            label_smoothing=0.1,
            # All three epochs, so that a resumed run needs the count so far.
            average_last=0.0 if early_stopping else 0.9,
            early_stopping=early_stopping,
            batch_norm="recomputed",
        ),
        "augment": AugmentConfig(intensity_probability=0.5),
        "model": ModelConfig(name="mc3_18"),
        "checkpoint": CheckpointConfig(every_s=0),
    }
    whole = prepare(tmp_path, "whole", **settings)
    training.train_run(whole)
    killed = prepare(tmp_path, "killed", **settings)
    run = killed.parent
    waits = {
        "in an epoch": lambda: (run / "checkpoint" / "epoch-0001").exists(),
        "while a checkpoint is written": lambda: any(run.glob("checkpoint/.epoch-0002.tmp")),
        "at the end": lambda: (run / "checkpoint" / "epoch-0003").exists(),
    }
    process = train_in_a_process(killed)
    deadline = time.monotonic() + 120
    while not waits[moment]() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (run / "predictions.csv").exists()
    again = train_in_a_process(killed)
    output, _ = again.communicate(timeout=240)
    assert again.returncode == 0, output
    assert "from epoch 0 of" not in output
    np.testing.assert_allclose(probabilities(run), probabilities(whole.parent), atol=1e-6, rtol=0)


def test_streamed_training_equals_training_from_memory(tmp_path: Path) -> None:
    base = tiny_config(tmp_path).train
    mapped = prepare(tmp_path, "mapped", model=SMALL, train=replace(base, epochs=1))
    other = replace(base, epochs=1, resident_share=0.0, workers=1)
    streamed = prepare(tmp_path, "streamed", model=SMALL, train=other)
    for file in (mapped, streamed):
        AcceleratorState._reset_state(reset_partial_state=True)
        training.train_run(file)
    record = json.loads((streamed.parent / "provenance.json").read_text())
    assert record["input"] == "streamed"
    np.testing.assert_array_equal(probabilities(streamed.parent), probabilities(mapped.parent))


def test_recomputed_batch_norm_is_the_mean_over_batches_of_unaugmented_volumes(
    tmp_path: Path,
) -> None:
    base = replace(tiny_config(tmp_path).train, batch_size=3)
    file = prepare(tmp_path, "recomputed", train=replace(base, batch_norm="recomputed"))
    training.train_run(file)
    config = configuration.load(file)
    volumes = Volumes(config.cache, read_index(config.cache))
    network = models.load_trained(file.parent).network
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm3d)]
    tested = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]
    seen: dict[torch.nn.Module, list[torch.Tensor]] = {norm: [] for norm in norms}
    for norm in norms:
        norm.register_forward_pre_hook(lambda norm, inputs: seen[norm].append(inputs[0]))
    subject_ids = splits.ensure(config).folds[0].train
    assert len(subject_ids) % 3 != 0
    network.train()
    with torch.no_grad():
        for samples in epoch_order(len(subject_ids), 3, Use.STATISTICS, (config.train.seed, 0)):
            batch = np.stack([volumes[subject_ids[sample]] for sample in samples])
            network(torch.from_numpy(batch).float())
    for norm, (mean, variance) in zip(norms, tested, strict=True):
        means = [batch.mean(dim=(0, 2, 3, 4)) for batch in seen[norm]]
        variances = [batch.var(dim=(0, 2, 3, 4)) for batch in seen[norm]]
        torch.testing.assert_close(mean, torch.stack(means).mean(dim=0), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(
            variance, torch.stack(variances).mean(dim=0), rtol=1e-3, atol=1e-4
        )
    # Training itself is untouched.
    AcceleratorState._reset_state(reset_partial_state=True)
    plain = prepare(tmp_path, "running", train=base)
    training.train_run(plain)
    theirs = dict(models.load_trained(plain.parent).network.named_parameters())
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, theirs[name]), name
    assert not np.allclose(probabilities(file.parent), probabilities(plain.parent))


def test_the_tested_weights_are_the_mean_of_those_after_the_last_epochs(tmp_path: Path) -> None:
    base = tiny_config(tmp_path).train
    settings = replace(base, epochs=4, average_last=0.5, batch_norm="recomputed")
    after: list[dict[str, torch.Tensor]] = []
    original = training.Run.train_epoch

    def noted(self: training.Run) -> None:
        original(self)
        parameters = self.learner.network.named_parameters()
        after.append({name: item.detach().double().clone() for name, item in parameters})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Run, "train_epoch", noted)
        file = prepare(tmp_path, "mean", train=settings)
        training.train_run(file)
    network = models.load_trained(file.parent).network
    assert len(after) == 4
    for name, parameter in network.named_parameters():
        expected = (after[2][name] + after[3][name]) / 2
        torch.testing.assert_close(parameter.double(), expected, rtol=1e-5, atol=1e-7)
        assert not torch.equal(after[2][name], after[3][name]), name
    # What is predicted is what this network says, with statistics of its own batches.
    config = configuration.load(file)
    volumes = Volumes(config.cache, read_index(config.cache))
    fold = splits.ensure(config).folds[0]

    def batch(subject_ids: Sequence[str]) -> torch.Tensor:
        return torch.from_numpy(np.stack([volumes[name] for name in subject_ids])).float()

    with torch.no_grad():
        said = network(batch(fold.test)).softmax(dim=1)
    np.testing.assert_allclose(said, probabilities(file.parent), atol=1e-4)
    stem = network.stem[1].running_mean.clone()
    seed = (config.train.seed, 0)
    orders = epoch_order(len(fold.train), config.train.batch_size, Use.STATISTICS, seed)
    with torch.no_grad():
        means = [
            network.stem[0](batch([fold.train[number] for number in order])).mean(dim=(0, 2, 3, 4))
            for order in orders
        ]
    torch.testing.assert_close(stem, torch.stack(means).mean(dim=0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("epochs", "share", "counted"),
    [
        (10, 0.9, 9),
        (10, 0.8, 8),
        (50, 0.8, 40),
        (5, 0.8, 4),
        (3, 0.5, 2),
        (12, 0.66, 8),
        (4, 0.01, 1),
    ],
)
def test_a_share_of_the_epochs_counts_rounded_up_to_whole_ones(
    epochs: int, share: float, counted: int
) -> None:
    train = TrainConfig(epochs=epochs, average_last=share, batch_norm="recomputed")
    averaged = [
        epoch for epoch in range(1, epochs + 1) if optimise.is_averaged(train, epoch, epochs)
    ]
    assert averaged == list(range(epochs - counted + 1, epochs + 1))


def test_early_stopping_tests_the_epoch_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    """With so large a rate the loss jumps about; which epoch is best is read from the table."""
    base = tiny_config(tmp_path)
    file = prepare(
        tmp_path,
        "early",
        split=replace(base.split, val_fraction=0.4),
        train=replace(base.train, epochs=12, early_stopping=2, learning_rate=3e-2),
        checkpoint=CheckpointConfig(every_s=0),
    )
    after: list[torch.Tensor] = []
    original = training.Run.train_epoch

    def noted(self: training.Run) -> None:
        original(self)
        after.append(self.learner.bare_network.fc[1].weight.detach().clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Run, "train_epoch", noted)
        training.train_run(file)
    losses = history.read(file.parent / "metrics.csv")["val_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 2 < 12
    tested = models.load_trained(file.parent).network
    torch.testing.assert_close(tested.fc[1].weight, after[best])
    record = json.loads((file.parent / "provenance.json").read_text())
    assert (record["best_epoch"], record["epochs"]) == (best + 1, len(losses))


def test_early_stopping_without_a_validation_part_is_refused(tmp_path: Path) -> None:
    train = replace(tiny_config(tmp_path).train, early_stopping=3)
    with pytest.raises(UserError, match=r"needs a validation part.*set split\.val_fraction"):
        training.train_run(prepare(tmp_path, "early", train=train))


def test_accumulated_batches_step_like_one_large_batch(tmp_path: Path) -> None:
    """Batch norm sees other batches, so the test looks at the weights of the head alone."""
    config = tiny_config(tmp_path)
    tiny_cache(config)
    steps = []
    original = torch.optim.Adam.step
    for accumulate in (1, 4):
        AcceleratorState._reset_state(reset_partial_state=True)
        changed = replace(config.train, epochs=1, accumulate=accumulate)
        file = prepare(tmp_path, f"accumulate{accumulate}", train=changed)
        count = 0

        def counted(self, *arguments, **named):  # type: ignore[no-untyped-def]
            nonlocal count
            count += 1
            return original(self, *arguments, **named)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.Adam, "step", counted)
            training.train_run(file)
        steps.append(count)
    assert steps == [8, 2]


def test_each_step_has_the_size_that_torchs_cosine_gives_it(tmp_path: Path) -> None:
    train = replace(tiny_config(tmp_path).train, schedule="cosine", batch_size=3)
    used = []

    def record(optimizer: torch.optim.Optimizer, *_: object) -> None:
        used.append(optimizer.param_groups[0]["lr"])

    hook = register_optimizer_step_post_hook(record)
    try:
        training.train_run(prepare(tmp_path, "cosine", train=train))
    finally:
        hook.remove()
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=train.learning_rate)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(used))
    expected = []
    for _ in used:
        expected += reference.get_last_lr()
        optimizer.step()
        reference.step()
    assert len(used) == 2 * 3  # two epochs of eight subjects, three a batch
    np.testing.assert_allclose(used, expected, rtol=1e-9)


def test_heavy_augmentation_and_a_validation_part_run_to_the_end(tmp_path: Path) -> None:
    base = tiny_config(tmp_path)
    file = prepare(
        tmp_path,
        "heavy",
        data=DataConfig(name="tiny", classes=CLASSES, contrasts=("t1ce", "flair")),
        augment=AugmentConfig(kind="heavy"),
        split=replace(base.split, val_fraction=0.4),
        train=replace(base.train, epochs=1, workers=1),
    )
    training.train_run(file)
    header = (file.parent / "metrics.csv").read_text().splitlines()[0]
    assert header.endswith("val_loss,val_accuracy")
    trained = models.load_trained(file.parent)
    assert trained.contrasts == ("t1ce", "flair")
    assert trained.chain["data.contrasts"] == ["t1ce", "flair"]
    assert models.channels_of(trained.network) == 2


@pytest.mark.parametrize(
    ("held", "asked", "said"),
    [
        (("t1ce", "flair"), ("flair", "t1ce"), "holds t1ce, flair; the run asks for flair, t1ce"),
        (("t1ce",), ("t1ce", "flair"), "holds t1ce; the run asks for t1ce, flair"),
        (("t1ce",), (), "holds t1ce; the run asks for scan"),
    ],
)
def test_a_cache_of_other_contrasts_than_the_run_asks_for_is_refused(
    tmp_path: Path, held: tuple[str, ...], asked: tuple[str, ...], said: str
) -> None:
    """As after a folder was renamed or copied by hand: its own name tells the contrasts."""
    data = {
        names: DataConfig(name="tiny", classes=CLASSES, contrasts=names) for names in (held, asked)
    }
    cache = tiny_config(tmp_path, data=data[held])
    tiny_cache(cache)
    cache.cache.rename(tiny_config(tmp_path, data=data[asked]).cache)
    with pytest.raises(CacheError, match=said):
        training.train_run(prepare(tmp_path, "other", data=data[asked]))


def test_a_cache_made_with_other_settings_than_the_run_asks_for_is_refused(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    chain = {**config.chain, "preprocessing.percentiles": [5.0, 95.0]}
    tiny_cache(config, chain=dump_yaml(chain))
    said = r"made with preprocessing\.percentiles=\[5\.0, 95\.0\] \(asked for: \[0\.5, 99\.5\]\)"
    with pytest.raises(CacheError, match=said):
        training.train_run(prepare(tmp_path, "other"))


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    file = prepare(tmp_path, "nan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            learner, "weighted_loss", lambda *_: torch.tensor(math.nan, requires_grad=True)
        )
        with pytest.raises(TrainingError, match=r"loss of epoch 1 is nan; lower"):
            training.train_run(file)
    assert not (file.parent / "predictions.csv").exists()


def test_precision_is_resolved_openly() -> None:
    assert resolve_precision("auto", "cuda") == "fp16"
    assert resolve_precision("auto", "cpu") in ("bf16", "fp32")
    assert resolve_precision("fp32", "cpu") == "fp32"
    # bf16 turns the gradients of ResNet(2+1)D; it is used where it is asked for.
    assert resolve_precision("auto", "cpu", "r2plus1d_18") == "fp32"
    assert resolve_precision("bf16", "cpu", "r2plus1d_18") == "bf16"
    assert resolve_precision("auto", "cuda", "r2plus1d_18") == "fp16"
    with pytest.raises(ConfigError, match="needs a CUDA device"):
        resolve_precision("fp16", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_give_each_test_subject_exactly_one_prediction(
    tmp_path: Path, processes: int
) -> None:
    """Of four, one has no validation subject."""
    base = tiny_config(tmp_path).train
    train = replace(base, epochs=2, average_last=0.9, batch_norm="recomputed")
    split = SplitConfig(n=2, val_fraction=0.35)
    file = prepare(tmp_path, "pair", model=SMALL, train=train, split=split)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(tmp_path),  # where torch's launcher leaves a folder
    }
    ended = subprocess.run(
        [
            # Processes that wait for each other end with their launcher, if that is asked to end.
            *("timeout", "--kill-after=60", "240"),
            *(sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"),
            *("--master-port=0", "--standalone"),
            *("-m", "stfmri.train", "--config", str(file)),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    config: Config = configuration.load(file)
    table = predictions.read(file.parent / "predictions.csv")
    fold = splits.ensure(config).folds[0]
    assert len(fold.val) == 3
    predictions.validate(table, CLASSES, 0, fold.test)
    record = json.loads((file.parent / "provenance.json").read_text())
    assert record["processes"] == processes
