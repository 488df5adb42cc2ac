"""Draw docs/phantom_contrasts.png: phantoms of each class beside real scans, four contrasts.

    python docs/make_phantom_contrasts.py --real ../shared/data

`--real` is the folder with the real scans that CONTRIBUTING.md names (glioma/ and ixi_hh/).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

from preprocessing.phantom.cohort import make_cohort

CONTRASTS = {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR"}
# Contrast → file, and the slice shown (mm above the lowest).
Column = tuple[str, dict[str, Path], float]
# Where the tumours of the real cases are, and a slice through the ventricles.
REAL = (
    ("TCGA-DU-7294 (LGG)", "glioma/TCGA-DU-7294_LGG_{}_stripped_SRI24.nii.gz", 106),
    ("UPENN-GBM-00006 (HGG)", "glioma/UPENN-GBM-00006_GBM_{}_stripped_SRI24.nii.gz", 55),
    ("IXI039 (healthy)", "ixi_hh/IXI-T1/IXI039-HH-1261-{}.nii.gz", 150),
)


def read(path: Path) -> tuple[np.ndarray, float]:
    """Read a scan in RAS order; return it and the distance of its axial slices, mm."""
    image = nib.as_closest_canonical(nib.load(path))
    return image.get_fdata(dtype=np.float32), float(image.header.get_zooms()[2])


def phantom_columns(folder: Path, seed: int) -> list[Column]:
    """Make one phantom of each class at 1 mm; show the largest cut through its lesion."""
    paths = make_cohort(
        folder,
        lgg=1,
        hgg=1,
        healthy=1,
        contrasts=list(CONTRASTS),
        spacing=1,
        seed=seed,
        masks=True,
    )
    columns = []
    for title, some in (("LGG", paths[:4]), ("HGG", paths[4:8]), ("healthy", paths[8:])):
        lesion = read(folder / "masks" / some[0].name)[0] > 1
        best = int(lesion.sum(axis=(0, 1)).argmax()) if lesion.any() else 145
        columns.append((f"phantom {title}", dict(zip(CONTRASTS, some, strict=False)), best))
    if len(paths) == 10:
        columns[-1] = (columns[-1][0], {"t1": paths[8], "t2": paths[9]}, columns[-1][2])
    return columns


def real_columns(folder: Path) -> list[Column]:
    """Find the real scans."""
    columns = []
    for title, pattern, height in REAL:
        files = {name: folder / pattern.format(file) for name, file in CONTRASTS.items()}
        present = {name: path for name, path in files.items() if path.is_file()}
        columns.append((title, present, float(height)))
    return columns


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "phantom_contrasts.png")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        columns = phantom_columns(Path(folder) / "c", asked.seed) + real_columns(asked.real)
        figure, axes = plt.subplots(4, len(columns), figsize=(2 * len(columns), 8.6))
        for column, (title, files, height) in enumerate(columns):
            axes[0, column].set_title(title, fontsize=8)
            for row, name in enumerate(CONTRASTS):
                axis = axes[row, column]
                axis.set_axis_off()
                if name not in files:
                    continue
                volume, step = read(files[name])
                image = volume[:, :, round(height / step)].T
                brightest = np.percentile(image[image > 0.05 * image.max()], 99.5)
                axis.imshow(image, origin="lower", cmap="gray", vmin=0, vmax=brightest)
        for row, label in enumerate(CONTRASTS.values()):
            figure.text(0.005, 0.86 - 0.24 * row, label, fontsize=9)
        figure.subplots_adjust(0.03, 0.0, 1.0, 0.96, 0.02, 0.02)
        figure.savefig(asked.out, dpi=100)


if __name__ == "__main__":
    main()
