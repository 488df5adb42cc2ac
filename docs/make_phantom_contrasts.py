"""Draw docs/phantom_contrasts.png: phantoms of each class beside real scans, four contrasts.

    python docs/make_phantom_contrasts.py --real ../shared/data

`--real` is the folder with the real scans that CONTRIBUTING.md names; glioma/, glioma_raw/ and
ixi_hh/ are used.
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
# The height of a phantom head's ventricles.
VENTRICLES_MM = 145.0
# Title, contrast → file, and the slice shown (mm above the lowest).
Column = tuple[str, dict[str, Path], float]
# Where the tumours of the real cases are, and a slice through the ventricles.
REAL = (
    ("TCGA-DU-7294 (LGG)", "glioma/TCGA-DU-7294_LGG_{}_stripped_SRI24.nii.gz", 106),
    ("UPENN-GBM-00006 (HGG)", "glioma/UPENN-GBM-00006_GBM_{}_stripped_SRI24.nii.gz", 55),
    ("IXI039 (healthy)", "ixi_hh/IXI-T1/IXI039-HH-1261-{}.nii.gz", 150),
    ("TCGA-FG-6692, as scanned", "glioma_raw/TCGA-FG-6692_LGG_{}_native.nii.gz", 77),
)


def read(path: Path) -> tuple[np.ndarray, float]:
    """Read a scan in RAS order; return it and the distance of its axial slices, mm."""
    image = nib.as_closest_canonical(nib.load(path))
    return image.get_fdata(dtype=np.float32), float(image.header.get_zooms()[2])


def crop(image: np.ndarray) -> np.ndarray:
    """Cut the background off, but for a margin."""
    seen = np.argwhere(image > 0.1 * image.max())
    low, high = np.maximum(seen.min(axis=0) - 3, 0), seen.max(axis=0) + 4
    return image[low[0] : high[0], low[1] : high[1]]


def phantom_columns(folder: Path, seed: int) -> list[Column]:
    """Make one phantom of each class at 1 mm; show the largest cut through its tumour."""
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
    by_class = {"LGG": paths[:4], "HGG": paths[4:8], "healthy": paths[8:]}
    columns = []
    for title, some in by_class.items():
        tumour = read(folder / "masks" / some[0].name)[0] > 2
        height = tumour.sum(axis=(0, 1)).argmax() if tumour.any() else VENTRICLES_MM
        names = CONTRASTS if tumour.any() else ("t1", "t2")
        columns.append((f"phantom {title}", dict(zip(names, some, strict=True)), float(height)))
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, required=True, help="folder with the real scans")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).with_name("phantom_contrasts.png")
    )
    parser.add_argument("--seed", type=int, default=3, help="of the phantoms (default 3)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        columns = phantom_columns(Path(folder) / "c", asked.seed) + real_columns(asked.real)
        figure, axes = plt.subplots(4, len(columns), figsize=(1.9 * len(columns) + 0.5, 9.4))
        for column, (title, files, height) in enumerate(columns):
            axes[0, column].set_title(title, fontsize=8)
            for row, name in enumerate(CONTRASTS):
                axis = axes[row, column]
                axis.set_axis_off()
                if name not in files:
                    continue
                volume, step = read(files[name])
                image = crop(volume[:, :, round(height / step)]).T
                brightest = np.percentile(image[image > 0.05 * image.max()], 99.5)
                axis.imshow(image, origin="lower", cmap="gray", vmin=0, vmax=brightest)
        for row, label in enumerate(CONTRASTS.values()):
            figure.text(0.005, 0.86 - 0.24 * row, label, fontsize=9)
        figure.subplots_adjust(0.04, 0.0, 1.0, 0.96, 0.02, 0.02)
        figure.savefig(asked.out, dpi=100)


if __name__ == "__main__":
    main()
