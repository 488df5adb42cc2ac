"""What goes wrong between this machine and the cluster, in one clear line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slurm.executor import Job


class ClusterError(Exception):
    """The cluster refused, did not answer, or is not there."""


class SubmissionError(ClusterError):
    """A submission was refused, perhaps after a part of it had been accepted.

    Attributes:
        submitted: the jobs that were accepted before the refusal, for the first calls in order;
            they are in the queue and stay there.
    """

    def __init__(self, message: str, submitted: Sequence[Job] = ()) -> None:
        super().__init__(message)
        self.submitted = tuple(submitted)
