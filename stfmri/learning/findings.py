"""What short trainings say of a pipeline, and the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass

BY_HEART = 8  # volumes
LEARNED = 0.05  # loss at which they are known by heart
ENOUGH_STEPS = 12  # to know that they cannot be learned by heart
CHANCE = 0.05  # level at which a score on held-out subjects is above chance


@dataclass(frozen=True)
class ByHeart:
    """How learning eight volumes by heart went: loss over steps, and seconds."""

    losses: tuple[float, ...]
    seconds: float

    @property
    def succeeded(self) -> bool:
        """Whether the loss fell below `LEARNED`."""
        return self.losses[-1] < LEARNED


@dataclass(frozen=True)
class HeldOut:
    """What a training found on the held-out part of the training subjects.

    Attributes:
        auc: macro one-versus-rest area under the ROC curve.
        p: share of permutations of the held-out labels with an area at least as large.
    """

    auc: float
    p: float
    subjects: int


@dataclass(frozen=True)
class Diagnosis:
    """The findings, and what they say together."""

    own: ByHeart
    recommended: ByHeart
    true: HeldOut
    shuffled: HeldOut

    @property
    def learns(self) -> bool:
        """Whether what is learned holds for subjects that were held out."""
        return self._finding[0] == "learns"

    @property
    def verdict(self) -> str:
        """One line: what is likely, and what to do."""
        return ": ".join(self._finding)

    @property
    def _finding(self) -> tuple[str, str]:
        if not self.recommended.succeeded and len(self.recommended.losses) < ENOUGH_STEPS:
            return "too little time", (
                f"{len(self.recommended.losses)} steps were taken within "
                f"{self.recommended.seconds:.0f} s, too few to learn anything by heart; give it "
                "more --seconds, or a machine with less other work"
            )
        if not self.recommended.succeeded:
            return "bug", (
                f"not even {BY_HEART} volumes can be learned by heart (loss "
                f"{self.recommended.losses[-1]:.3f} after {len(self.recommended.losses)} steps); "
                "give it more --seconds, then look at qc.html for empty or identical volumes and "
                "at the label column"
            )
        if self.shuffled.p <= CHANCE / 10:
            return "bug", (
                f"labels were shuffled and held-out subjects are still told apart (AUC "
                f"{self.shuffled.auc:.2f}); some of them may be among the training subjects"
            )
        if not self.own.succeeded:
            return "recipe", (
                f"{BY_HEART} volumes are learned by heart with train=recommended "
                f"({len(self.recommended.losses)} steps), but not with this run's settings (loss "
                f"{self.own.losses[-1]:.3f} after {len(self.own.losses)} steps); use "
                "train=recommended, or a larger train.learning_rate"
            )
        if self.true.p > CHANCE:
            return "no signal", (
                f"training volumes are learned, and it is not seen to hold for the "
                f"{self.true.subjects} held-out training subjects (AUC {self.true.auc:.2f}, "
                f"p = {self.true.p:.2f}): there is nothing to see, or they are too few to see it; "
                "more subjects, a finer grid or another contrast may help"
            )
        return "learns", (
            f"on {self.true.subjects} held-out training subjects the AUC is {self.true.auc:.2f} "
            f"(p = {self.true.p:.3f}), with shuffled labels {self.shuffled.auc:.2f}"
        )
