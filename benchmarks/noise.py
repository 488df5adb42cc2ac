"""Noise: what studies of nothing are told.

Each study has 48 volumes of noise with labels that mean nothing, three folds, a network that is
trained on them for real, every image baseline, and the report's own sentences. Nothing may be
called better than chance in more than 5 of 100 studies. Then the best of 20 variants that guess:
its own score is too high, the corrected one must be at chance. There is no peer.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import Row, new_parser, publish, said_on_stderr

from stfmri.evidence.baselines import fitting_baselines
from stfmri.evidence.baselines.run import run_baselines
from stfmri.evidence.collecting import collect_evidence
from stfmri.evidence.metrics import macro_f1
from stfmri.evidence.sentences import CHANCE_LEVEL, ranks_classes
from stfmri.evidence.statistics import select_best
from stfmri.evidence.summarise import summarise
from stfmri.study import config as configuration
from stfmri.study import splits
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig, PreprocessingConfig
from stfmri.study.config.split import SplitConfig
from stfmri.study.config.training import TrainConfig
from stfmri.study.expansion import expand
from stfmri.study.runs import Sweep
from stfmri.study.serialise import dump_yaml
from stfmri.study.shards import IndexRow, voxel_sha256, write_index, write_shard
from stfmri.study.splits import subjects_in
from stfmri.study.sweep_file import write_sweep

CLASSES = ("a", "b")
SUBJECTS = 48
STUDIES, QUICK_STUDIES = 100, 1
VARIANTS, GUESSES = 20, 200
# Of 100 studies in which nothing is to be found; and how far a mean of 200 may lie from chance.
FALSE_MARK, CHANCE_MARK = 0.05, 0.02


def write_cache(config: Config, seed: int) -> None:
    """Noise of 12³ voxels in an ellipsoid; half of the labels are a, half b, at random."""
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 12)] * 3, indexing="ij"))
    brain = (grid**2).sum(axis=0) < 0.8
    volumes = generator.uniform(0.05, 1, (SUBJECTS, 1, 12, 12, 12)) * brain
    volumes = volumes.astype(np.float16)
    labels = generator.permutation(np.repeat(CLASSES, SUBJECTS // 2))
    ids = [f"s{number:02d}" for number in range(SUBJECTS)]
    rows = [
        IndexRow(
            name, name, "one", "shard-0000.h5", number, name, voxel_sha256(volume), {"label": label}
        )
        for number, (name, volume, label) in enumerate(zip(ids, volumes, labels, strict=True))
    ]
    config.cache.mkdir(parents=True)
    affines = np.repeat(np.diag([10.0, 10, 10, 1])[None], SUBJECTS, axis=0)
    chain, file = dump_yaml(config.chain), config.cache / "shard-0000.h5"
    write_shard(file, volumes, affines, ids, ids, config.data.channels, chain)
    write_index(config.cache, rows)


def called_better_than_chance(root: Path, seed: int) -> list[str]:
    """Run one study; whatever its report calls better than chance."""
    # Torch is loaded here, so that --help answers at once.
    from stfmri.learning.training import train_run

    config = Config(
        root=str(root),
        data=DataConfig(name="noise", classes=CLASSES),
        preprocessing=PreprocessingConfig(spacing_mm=10, field_mm=(120, 120, 120)),
        split=SplitConfig(kind="kfold", n=3, seed=seed),
        train=TrainConfig(
            epochs=4, batch_size=8, precision="fp32", threads=1, learning_rate=1e-3, seed=seed
        ),
    )
    config = replace(config, model=replace(config.model, name="sfcn"))
    config = replace(config, sweep=replace(config.sweep, name="noise", models=("sfcn",)))
    write_cache(config, seed)
    subjects = subjects_in(splits.rows_of(config), config.data.label)
    sweep = Sweep(
        config,
        expand(config, lambda choices: config),  # noqa: ARG005
        baselines=fitting_baselines(config, subjects),
    )
    write_sweep(sweep)
    splits.ensure(config)
    failures = run_baselines(sweep, sweep.baseline_runs)
    if failures:
        raise RuntimeError(f"{failures[0].run.name}: {failures[0].error}")
    for run in sweep.runs:
        run.folder.mkdir(parents=True)
        configuration.save(sweep.config_of(run), run.config_file)
        with contextlib.redirect_stdout(io.StringIO()):
            train_run(run.config_file)
    results = summarise(collect_evidence(sweep))
    called = [name for name, test in results.chance.items() if test.p < CHANCE_LEVEL]
    leader = results.leader
    if leader is not None and not called and ranks_classes(leader, results):
        called.append(f"the AUC of {leader.predicted.name}")
    return called


def best_of_guesses(studies: int) -> tuple[float, float]:
    """Mean score of the best of 20 guessing variants, as it is and corrected."""
    scores, corrected = [], []
    for seed in range(studies):
        generator = np.random.default_rng(seed)
        truth = np.repeat([0, 1, 2], 40)
        counts = np.zeros((VARIANTS, 1, len(truth), 3, 3), dtype=np.int32)
        guesses = generator.integers(0, 3, (VARIANTS, len(truth)))
        patients = np.arange(len(truth))
        for variant, guess in enumerate(guesses):
            counts[variant, 0, patients, truth, guess] = 1
        found = select_best(counts, macro_f1, resample_folds=False, draws=500)
        scores.append(found.score)
        corrected.append(found.corrected)
    return float(np.mean(scores)), float(np.mean(corrected))


def main() -> int:
    """Print the table; 1 where a mark is missed."""
    parser = new_parser(__doc__ or "")
    parser.add_argument("--studies", type=int, default=STUDIES, help="default: %(default)s")
    parser.add_argument("--first", type=int, default=0, help="seed of the first study (default 0)")
    options = parser.parse_args()
    studies = QUICK_STUDIES if options.quick else options.studies
    told = []
    for seed in range(options.first, options.first + studies):
        with (
            said_on_stderr(f"study {seed + 1 - options.first} of {studies}"),
            tempfile.TemporaryDirectory() as root,
        ):
            told.append(called_better_than_chance(Path(root), seed))
    wrong = sum(bool(names) for names in told)
    score, corrected = best_of_guesses(2 if options.quick else GUESSES)
    rows = [
        Row(
            f"{studies} studies of noise: anything called better than chance",
            f"{wrong} ({', '.join(sorted({name for names in told for name in names})) or 'none'})",
            mark=f"≤ {FALSE_MARK:.0%}",
            met=wrong <= FALSE_MARK * studies,
        ),
        Row(f"best of {VARIANTS} guessing variants, macro F1 as it is", f"{score:.3f}"),
        Row(
            "the same, corrected for the choice",
            f"{corrected:.3f}",
            mark=f"1/3 ± {CHANCE_MARK}",
            met=abs(corrected - 1 / 3) <= CHANCE_MARK,
        ),
    ]
    return publish("noise", rows, packages=("torch", "scikit-learn", "numpy"), quick=options.quick)


if __name__ == "__main__":
    sys.exit(main())
