"""The figures printed in the paper, to stand beside a user's own.

Chatterjee, Nizamani, Nürnberger & Speck, "Classification of brain tumours in MR images using deep
spatiospatial models", Scientific Reports 2022 (CC BY 4.0), Tables 1–6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CITATION = (
    "Chatterjee, Nizamani, Nürnberger & Speck, Classification of brain tumours in MR images using "
    "deep spatiospatial models, Scientific Reports 12 (2022)"
)
CLASSES = ("LGG", "HGG", "Healthy")
# Table of the paper that prints the F1 of each class.
F1_TABLE: Mapping[str, int] = {"LGG": 2, "HGG": 3, "Healthy": 4}
# Figure of the paper that prints the confusion matrices of each model.
CONFUSION_FIGURE: Mapping[str, int] = {"r2plus1d_18": 4, "mc3_18": 5, "r3d_18": 6}
MODEL_NAMES: Mapping[str, str] = {
    "r3d_18": "ResNet3D",
    "r2plus1d_18": "ResNet(2+1)D",
    "mc3_18": "Mixed Convolution",
}
# Table 1, trainable parameters.
PARAMETERS: Mapping[str, int] = {
    "r2plus1d_18": 31_297_254,
    "mc3_18": 11_472_963,
    "r3d_18": 33_150_522,
}


@dataclass(frozen=True)
class PaperScores:
    """One row of Tables 2–5: F1 as (mean, standard deviation) over three folds, per class."""

    class_f1: Mapping[str, tuple[float, float]]
    macro_f1: float
    weighted_f1: float


def _scores(
    lgg: tuple[float, float],
    hgg: tuple[float, float],
    healthy: tuple[float, float],
    macro: float,
    weighted: float,
) -> PaperScores:
    return PaperScores({"LGG": lgg, "HGG": hgg, "Healthy": healthy}, macro, weighted)


# Tables 2–5, by model and weights.
SCORES: Mapping[tuple[str, str], PaperScores] = {
    ("r3d_18", "scratch"): _scores(
        (0.8542, 0.049), (0.8773, 0.034), (0.9970, 0.005), 0.9095, 0.9269
    ),
    ("r3d_18", "kinetics"): _scores(
        (0.8143, 0.048), (0.8634, 0.042), (0.9998, 0.0002), 0.8925, 0.9171
    ),
    ("r2plus1d_18", "scratch"): _scores(
        (0.8448, 0.019), (0.8730, 0.022), (0.9927, 0.009), 0.9035, 0.9220
    ),
    ("r2plus1d_18", "kinetics"): _scores(
        (0.8739, 0.041), (0.8979, 0.032), (0.9992, 0.001), 0.9237, 0.9393
    ),
    ("mc3_18", "scratch"): _scores(
        (0.7734, 0.031), (0.8231, 0.027), (0.9855, 0.004), 0.8607, 0.8881
    ),
    ("mc3_18", "kinetics"): _scores(
        (0.8949, 0.033), (0.9123, 0.029), (0.9963, 0.002), 0.9345, 0.9470
    ),
}
# The text: test accuracy and specificity of the best model, `mc3_18` pre-trained. Plain accuracy
# would be close to its weighted F1 (0.947); the printed value fits mean one-versus-rest accuracy.
BEST_OVR_ACCURACY = 0.9698
BEST_SPECIFICITY = 0.9684


@dataclass(frozen=True)
class PublishedResult:
    """One row of Table 6; accuracy in per cent."""

    study: str
    method: str
    classes: str
    accuracy: str
    specificity: str = ""


LITERATURE: Sequence[PublishedResult] = (
    PublishedResult("Shahzadi et al.", "CNN with LSTM", "LGG, HGG", "84.00"),
    PublishedResult("Pei et al.", "U-Net-like, then CNN", "LGG, HGG", "74.9"),
    PublishedResult("Ge et al.", "multi-stream 2D CNN", "LGG, HGG", "90.87"),
    PublishedResult("Yang et al.", "pre-trained GoogLeNet (cross-validated)", "LGG, HGG", "94.5"),
    PublishedResult("Mzoughi et al.", "3D CNN", "LGG, HGG", "96.49"),
    PublishedResult("Zhuge et al.", "3D CNN", "LGG, HGG", "97.1", "0.968"),
    PublishedResult("Ouerghi et al.", "random forest", "LGG, HGG", "96.5"),
    PublishedResult(
        "Chatterjee et al. (the paper)",
        "pre-trained Mixed Convolution (cross-validated)",
        "LGG, HGG, Healthy",
        "96.98",
        "0.9684",
    ),
)


def is_paper_task(classes: Sequence[str]) -> bool:
    """Whether `classes` are the paper's three, in any order."""
    return sorted(classes) == sorted(CLASSES)
