"""Sweeps as they lie on disk, with simulated predictions in place of trained networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit

from stfmri.study import predictions
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from stfmri.study.config.split import SplitConfig
from stfmri.study.config.sweep import ReferenceConfig, SweepConfig
from stfmri.study.files import write_atomic
from stfmri.study.runs import TRAIN_FRACTION, Run, Sweep, run_part
from stfmri.study.shards import IndexRow, write_index
from stfmri.study.splits import Subject
from stfmri.study.sweep_file import load_sweep, write_sweep

PAPER_CLASSES = ("LGG", "HGG", "Healthy")
# The paper's cohort by (source, class): only 2013 and TMC hold both grades. The other centres are
# pure, so how their cases divide among them changes no look-up.
PAPER_SOURCES = {
    ("BraTS-2013", "HGG"): 20,
    ("BraTS-2013", "LGG"): 9,
    ("BraTS-TMC", "HGG"): 8,
    ("BraTS-TMC", "LGG"): 1,
    ("BraTS-CBICA", "HGG"): 129,
    ("BraTS-TCIA02", "HGG"): 102,
    ("BraTS-TCIA10", "LGG"): 63,
    ("IXI-Guys", "Healthy"): 140,
    ("IXI-HH", "Healthy"): 82,
    ("IXI-IOP", "Healthy"): 37,
}
SMALL_SOURCES = {
    ("BraTS-2013", "HGG"): 6,
    ("BraTS-2013", "LGG"): 8,
    ("BraTS-TMC", "HGG"): 6,
    ("IXI-HH", "Healthy"): 20,
}


def subjects_of(sources: Mapping[tuple[str, str], int]) -> list[Subject]:
    """One subject a patient, named by source and number."""
    return [
        Subject(
            f"{source}-{label}-{n:03d}",
            f"{source}-{label}-{n:03d}",
            source,
            label,
            f"{source}{label}{n}",
        )
        for (source, label), count in sources.items()
        for n in range(count)
    ]


def make_sweep(
    root: Path,
    *,
    sources: Mapping[tuple[str, str], int] = SMALL_SOURCES,
    classes: tuple[str, ...] = PAPER_CLASSES,
    accuracies: Mapping[str, float] | None = None,
    seeds: tuple[int, ...] = (),
    fractions: tuple[float, ...] = (),
    folds: int = 3,
    note: str = "",
    name: str = "full",
    reference: str = "chatterjee2022",
) -> Sweep:
    """Write index, split, sweep.yaml, and predictions right as often as `accuracies` say.

    Args:
        accuracies: by variant, the chance of a right prediction; the default is two variants of
            r3d_18.
        seeds: of several trainings of each variant; empty: one training.
        fractions: of the training part, an axis; the chance of a right prediction grows with them.
    """
    accuracies = accuracies or {"r3d_18-scratch": 0.8, "r3d_18-kinetics": 0.9}
    # What the names hold beyond network and weights, as values of an axis of its own.
    further = dict.fromkeys(part for variant in accuracies for part in variant.split("-")[2:])
    axes = {"augment": tuple(further)} if further else {}
    config = Config(
        root=str(root),
        data=DataConfig(name="tiny", classes=classes),
        split=SplitConfig(n=folds),
        sweep=SweepConfig(
            name=name,
            note=note,
            models=tuple(dict.fromkeys(variant.split("-")[0] for variant in accuracies)),
            weights=tuple(dict.fromkeys(variant.split("-")[1] for variant in accuracies)),
            seeds=seeds,
            axes={TRAIN_FRACTION: fractions} if fractions else axes,
        ),
        reference=ReferenceConfig(reference),
    )
    subjects = subjects_of(sources)
    write_index(config.cache, [_index_row(subject) for subject in subjects])
    split = _draw(subjects, folds)
    content = {"label": "label", "classes": list(classes), "folds": split}
    write_atomic(config.split_file, json.dumps(content))
    parts = {f"-{one:g}": {TRAIN_FRACTION: one} for one in fractions} or {"": {}}
    runs = [
        Run(
            f"{variant}{part}",
            *variant.split("-")[:2],
            fold,
            config.sweep_folder / f"{variant}{part}" / run_part(seed, fold),
            own,
            seed=seed,
        )
        for variant in accuracies
        for part, own in parts.items()
        for seed in seeds or (None,)
        for fold in range(folds)
    ]
    write_sweep(Sweep(config, runs))
    sweep = load_sweep(config.sweep_folder)
    runs = sweep.runs
    by_id = {subject.subject_id: subject for subject in subjects}
    for number, run in enumerate(runs):
        tested = [by_id[subject_id] for subject_id in split[run.fold]["test"]]
        predictions.write(
            run.folder / predictions.FILE_NAME,
            subjects=tested,
            fold=run.fold,
            classes=classes,
            probabilities=simulate(tested, classes, _chance(run, accuracies), seed=number),
        )
        _write_records(run, number)
    return sweep


def _chance(run: Run, accuracies: Mapping[str, float]) -> float:
    """That a run is right."""
    return accuracies[run.curve or run.variant] * (1 if not run.curve else run.train_fraction**0.3)


def simulate(
    subjects: list[Subject], classes: tuple[str, ...], accuracy: float, seed: int
) -> np.ndarray:
    """Probabilities (N, K) whose argmax is right with chance `accuracy`."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(len(classes)), size=len(subjects))
    for row, subject in zip(probabilities, subjects, strict=True):
        true = classes.index(subject.label)
        right = generator.random() < accuracy
        wanted = true if right else (true + generator.integers(1, len(classes))) % len(classes)
        best = int(row.argmax())
        row[[wanted, best]] = row[[best, wanted]]
    return probabilities


def _index_row(subject: Subject) -> IndexRow:
    return IndexRow(
        subject.subject_id,
        subject.patient_id,
        subject.source,
        "shard-0000.h5",
        0,
        subject.subject_id,
        subject.sha256,
        {"label": subject.label},
    )


def _draw(subjects: list[Subject], folds: int) -> list[dict[str, list[str]]]:
    """Stratified random splits into 70 % and 30 %."""
    labels = [subject.label for subject in subjects]
    splitter = StratifiedShuffleSplit(folds, test_size=0.3, random_state=0)
    return [
        {
            "train": [subjects[n].subject_id for n in train],
            "val": [],
            "test": [subjects[n].subject_id for n in test],
        }
        for train, test in splitter.split(labels, labels)
    ]


def _write_records(run: Run, seed: int) -> None:
    """provenance.json and metrics.csv as training writes them."""
    generator = np.random.default_rng(seed)
    parameters = {"r3d_18": 33_148_995, "mc3_18": 11_472_963, "r2plus1d_18": 31_297_254}
    provenance = {
        "versions": {"python": "3.11.9", "torch": "2.6.0"},
        "code": {"commit": "0123456789abcdef", "changed": False},
        "host": f"node{seed % 3}",
        "device": "NVIDIA A100",
        "precision": "fp16",
        "parameters": parameters[run.model],
        "timings": {"startup_s": 12.0, "train_s": 3000.0 + 100 * seed, "evaluate_s": 3.0},
        "peak_memory_bytes": 4_200_000_000,
    }
    write_atomic(run.folder / "provenance.json", json.dumps(provenance))
    lines = ["epoch,train_loss,seconds"]
    for epoch in range(1, 31):
        loss = 0.7 * np.exp(-epoch / 9) + 0.05 + 0.02 * generator.random()
        lines.append(f"{epoch},{loss},60.0")
    write_atomic(run.folder / "metrics.csv", "\n".join(lines) + "\n")
