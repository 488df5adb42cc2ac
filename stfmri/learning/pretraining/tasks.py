"""What may be learned before the label at hand: one record a task. Starts without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stfmri.learning.pretraining.request import Request
from stfmri.learning.pretraining.targets import Targets, of_column, of_subjects
from stfmri.study.config.training import AugmentConfig
from stfmri.study.duplicates import Pair
from stfmri.study.shards import IndexRow

if TYPE_CHECKING:
    from torch import nn

    from stfmri.learning.data import Part


def _as_it_is(sweeps: AugmentConfig) -> AugmentConfig:
    return sweeps


@dataclass(frozen=True)
class Task:
    """One thing to learn.

    Attributes:
        name: of `--task`.
        summary: a line for help.
        needs_label: whether it learns a column, named by `--label`.
        targets: each subject's class; the pairs are scans that are almost the same.
        method: the task as a methods section has it, after `the weights were`.
        head: made of the number of features and of classes; None takes the network's own.
        augment: changes to the sweep's augmentation.
        hide: what else is done to volumes, from the run's seed; None leaves them as they are.
    """

    name: str
    summary: str
    needs_label: bool
    targets: Callable[[Request, Sequence[IndexRow], Sequence[Pair]], Targets]
    method: Callable[[Request, Targets], str]
    head: Callable[[int, int], nn.Module] | None = None
    augment: Callable[[AugmentConfig], AugmentConfig] = _as_it_is
    hide: Callable[[Part, tuple[int, ...]], Part] | None = None


def _column(request: Request, rows: Sequence[IndexRow], pairs: Sequence[Pair]) -> Targets:  # noqa: ARG001
    return of_column(rows, request.label, request.bins)


def _column_method(request: Request, targets: Targets) -> str:
    return f"trained to classify {request.label} ({targets.words})"


def _patients(request: Request, rows: Sequence[IndexRow], pairs: Sequence[Pair]) -> Targets:  # noqa: ARG001
    return of_subjects(rows, pairs)


def _patients_method(request: Request, targets: Targets) -> str:  # noqa: ARG001
    return (
        "trained without labels to recognise each patient in changed copies of the scans "
        "(parametric instance classification; Cao et al. 2020)"
    )


def _instance_head(features: int, patients: int) -> nn.Module:
    # Torch takes seconds to import, and --help needs none.
    from stfmri.learning.pretraining.instances import InstanceHead

    return InstanceHead(features, patients)


def _stronger(sweeps: AugmentConfig) -> AugmentConfig:
    """Views of one scan must differ more than scans of two people do."""
    return replace(
        sweeps,
        kind="light",
        affine_probability=1.0,
        scale=(0.8, 1.3),
        degrees=20.0,
        flip_probability=0.5,
        intensity_probability=1.0,
    )


def _without_a_box(part: Part, seed: tuple[int, ...]) -> Part:
    from stfmri.learning.pretraining.instances import Blanked

    return Blanked(part, seed)


SUPERVISED = Task(
    "supervised",
    "learn another column of the cohort table, named by --label",
    needs_label=True,
    targets=_column,
    method=_column_method,
)
SELF = Task(
    "self",
    "no label: recognise each patient in changed copies of the scans",
    needs_label=False,
    targets=_patients,
    method=_patients_method,
    head=_instance_head,
    augment=_stronger,
    hide=_without_a_box,
)
TASKS = {task.name: task for task in (SUPERVISED, SELF)}
