"""Into the space of a template: the MNI152 brain that nilearn ships."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import SimpleITK
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from preprocessing.brain import Mask, bounding_box
from preprocessing.chain.geometry import Matrix, centre_of_mass, inverse
from preprocessing.chain.matching import (
    COARSE,
    FINE,
    as_matrix,
    brain_and_rim,
    canonical,
    improve,
    working_image,
)
from preprocessing.chain.transforms import carried_mask
from preprocessing.nifti import Image


@dataclass(frozen=True)
class Template:
    """A brain without its head, 1 mm.

    Attributes:
        centre: of the brain's bounding box, in RAS millimetres.
    """

    image: Image
    brain: Mask
    centre: NDArray[np.float64]


@lru_cache(maxsize=1)
def mni_template() -> Template:
    """Load the template, once a process."""
    # nilearn takes seconds to import, and only this option needs it.
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    template = load_mni152_template(resolution=1)
    brain = np.asarray(load_mni152_brain_mask(resolution=1).dataobj) > 0
    middle = [(part.start + part.stop - 1) / 2 for part in bounding_box(brain)]
    return Template(
        image=Image(np.asarray(template.dataobj), template.affine),
        brain=brain,
        centre=apply_affine(template.affine, middle),
    )


def align_to_mni(reference: Image, brain: Mask) -> tuple[Matrix, dict[str, float]]:
    """Find the affine map from the template's world to the scan's, brain to brain.

    A first stage knows only rotation, shift and one scale, from the two brains' centres and
    volumes; an affine map with all its freedom would go astray from far away.

    Returns:
        The matrix, and the facts `mni_dice`, the overlap of the two brains after it, and
        `mni_scale`, the volume of the template's brain by that of the scan's before it.
    """
    template = mni_template()
    reference, brain = canonical(reference, brain)
    whole = working_image(template.image)
    moving = working_image(reference, brain)
    here, there = (
        apply_affine(image.affine, centre_of_mass(mask))
        for image, mask in ((template.image, template.brain), (reference, brain))
    )
    ratio = _volume(template.image, template.brain) / _volume(reference, brain)
    similarity = SimpleITK.Similarity3DTransform()
    similarity.SetCenter(here.tolist())
    similarity.SetTranslation((there - here).tolist())
    similarity.SetScale(float(np.cbrt(1 / ratio)))
    improve(similarity, whole, moving, COARSE)
    affine = SimpleITK.AffineTransform(3)
    affine.SetCenter(here.tolist())
    affine.SetMatrix(similarity.GetMatrix())
    affine.SetTranslation(similarity.GetTranslation())
    fixed, rim = brain_and_rim(template.image, template.brain)
    improve(affine, fixed, moving, FINE, rim)
    matrix = as_matrix(affine)
    moved = carried_mask(brain, reference.affine, template.image, inverse(matrix))
    both = np.count_nonzero(moved & template.brain)
    dice = 2 * both / (np.count_nonzero(moved) + np.count_nonzero(template.brain))
    return matrix, {"mni_dice": float(dice), "mni_scale": ratio}


def _volume(image: Image, mask: Mask) -> float:
    return float(np.count_nonzero(mask) * abs(np.linalg.det(image.affine[:3, :3])))
