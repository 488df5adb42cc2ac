"""The figures printed in the paper that this project starts from.

Chatterjee, Nizamani, Nürnberger & Speck, "Classification of brain tumours in MR images using deep
spatiospatial models", Scientific Reports 2022 (CC BY 4.0), Tables 1–6.
"""

from __future__ import annotations

from stfmri.evidence.references.record import PrintedScores, PublishedResult, Reference

# The text: test accuracy (%) and specificity of the best model, `mc3_18` pre-trained.
BEST_ACCURACY = "96.98"
BEST_SPECIFICITY = "0.9684"


def _scores(
    lgg: tuple[float, float],
    hgg: tuple[float, float],
    healthy: tuple[float, float],
    macro: float,
    weighted: float,
) -> PrintedScores:
    """One row of Tables 2–5."""
    return PrintedScores({"LGG": lgg, "HGG": hgg, "Healthy": healthy}, macro, weighted)


REFERENCE = Reference(
    name="chatterjee2022",
    citation=(
        "Chatterjee, Nizamani, Nürnberger & Speck, Classification of brain tumours in MR images "
        "using deep spatiospatial models, Scientific Reports 12 (2022)"
    ),
    class_counts={"LGG": 73, "HGG": 259, "Healthy": 259},
    # Table 1.
    parameters={
        "r2plus1d_18": 31_297_254,
        "mc3_18": 11_472_963,
        "r3d_18": 33_150_522,
    },
    # Tables 2–5.
    scores={
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
    },
    # Table 6.
    literature=(
        PublishedResult("Shahzadi et al.", "CNN with LSTM", "LGG, HGG", "84.00"),
        PublishedResult("Pei et al.", "U-Net-like, then CNN", "LGG, HGG", "74.9"),
        PublishedResult("Ge et al.", "multi-stream 2D CNN", "LGG, HGG", "90.87"),
        PublishedResult(
            "Yang et al.", "pre-trained GoogLeNet (cross-validated)", "LGG, HGG", "94.5"
        ),
        PublishedResult("Mzoughi et al.", "3D CNN", "LGG, HGG", "96.49"),
        PublishedResult("Zhuge et al.", "3D CNN", "LGG, HGG", "97.1", "0.968"),
        PublishedResult("Ouerghi et al.", "random forest", "LGG, HGG", "96.5"),
        PublishedResult(
            "Chatterjee et al. (the paper)",
            "pre-trained Mixed Convolution (cross-validated)",
            "LGG, HGG, Healthy",
            BEST_ACCURACY,
            BEST_SPECIFICITY,
        ),
    ),
    table_of={
        "parameters": "Table 1",
        "class_f1/LGG": "Table 2",
        "class_f1/HGG": "Table 3",
        "class_f1/Healthy": "Table 4",
        "f1_by_class": "Tables 2–4",
        "consolidated": "Table 5",
        "literature": "Table 6",
        "confusion/r2plus1d_18": "Figure 4",
        "confusion/mc3_18": "Figure 5",
        "confusion/r3d_18": "Figure 6",
        "class_heatmaps": "Figure 7",
    },
    remarks={
        "parameters": (
            "The paper's count of ResNet3D belongs to the (2+1)D stem (model.stem=factorised); the "
            "stem that its text describes has 33,148,995 parameters in all."
        ),
        # Plain accuracy would be close to the best model's weighted F1, 0.947.
        "accuracy": (
            f"The paper prints {BEST_ACCURACY} % and specificity {BEST_SPECIFICITY} for its best "
            "model; the former fits the one-vs-rest mean."
        ),
        "literature": (
            "As the paper prints them; cohorts, classes and contrasts differ, so that rows cannot "
            "be ranked. The first row gives mean one-vs-rest accuracy, which fits the paper's own "
            "figure."
        ),
    },
)
