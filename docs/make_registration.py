"""Draw docs/registration.png: four contrasts of a head, placed by their headers and registered.

    python docs/make_registration.py --real ../shared/data

`--real` is the folder with the real scans that CONTRIBUTING.md names; glioma_raw/ is used: a head
as scanned, with 5.5 mm slices, that moved between the contrasts. The lines are edges of T1.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to
from scipy import ndimage

from preprocessing.chain import Chain, process, read
from preprocessing.cohorts import Scan
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig

CONTRASTS = ("T1", "T1ce", "T2", "FLAIR")
# Planes of the stored volume (D, H, W) through ventricles and lesion.
PLANES = (np.s_[46], np.s_[:, :, 60])


def edges(volume_DHW: np.ndarray) -> tuple[np.ndarray, float]:
    """Strength of the edges deep inside the brain, and the level that a tenth of it reaches."""
    strength = ndimage.gaussian_gradient_magnitude(volume_DHW, 1.0)
    inside = ndimage.binary_erosion(volume_DHW > 0, iterations=3)
    return np.where(inside, strength, 0), float(np.percentile(strength[inside], 90))


def main() -> None:
    """Register, resample by header, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True)
    folder = parser.parse_args().real / "glioma_raw"
    paths = {name: folder / f"TCGA-FG-6692_LGG_{name}_native.nii.gz" for name in CONTRASTS}
    chain = Chain.of(Config(data=DataConfig(contrasts=CONTRASTS)))
    with tempfile.TemporaryDirectory() as masks:
        made = process(read(Scan("s", "s", "", "", paths), chain), chain, Path(masks))
    brain_WHD = (made.volume_CDHW[0] > 0).T
    strength, level = edges(made.volume_CDHW[0].astype(np.float32))
    figure, axes = plt.subplots(len(CONTRASTS), 4, figsize=(11, 9.6), facecolor="black")
    for row, name in enumerate(CONTRASTS):
        header = resample_from_to(nib.load(paths[name]), (brain_WHD.shape, made.affine), order=1)
        by_header = np.where(brain_WHD, header.get_fdata(), 0).T
        by_header /= np.percentile(by_header[by_header > 0], 99.5)
        for column, (volume, plane) in enumerate(
            (volume, plane) for volume in (by_header, made.volume_CDHW[row]) for plane in PLANES
        ):
            axis = axes[row, column]
            axis.imshow(volume[plane].astype(float), cmap="gray", origin="lower", vmin=0, vmax=1)
            axis.contour(strength[plane], [level], colors="#ffb000", linewidths=0.6)
            axis.axis("off")
        when = {"before": axes[row, 0], "after": axes[row, 2]}
        for word, axis in when.items():
            overlap = made.facts.get(f"nmi_{word}_{name}")
            text = f"{name}, by header" if word == "before" else f"{name}, registered"
            text += f" (NMI {overlap:.3f})" if overlap else ""
            axis.set_title(text if row else name, color="white", fontsize=10, loc="left")
    figure.tight_layout(pad=0.4)
    figure.savefig(Path(__file__).with_name("registration.png"), dpi=80)


if __name__ == "__main__":
    main()
