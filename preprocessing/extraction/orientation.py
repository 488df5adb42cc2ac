"""Heads on canonical axes, for extractors that know heads in no other position."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from preprocessing.masks import Mask
from preprocessing.nifti import Image


def canonical(image: Image) -> nib.Nifti1Image:
    """The scan with its axes swapped and flipped to run right, anterior and superior.

    No voxel is interpolated: oblique axes stay oblique.
    """
    return nib.as_closest_canonical(nib.Nifti1Image(image.values(), image.affine))


def as_stored(mask: Mask, image: Image) -> Mask:
    """A mask on the axes of `canonical(image)`, brought to those of `image.data`."""
    back = ornt_transform(axcodes2ornt("RAS"), io_orientation(image.affine))
    return np.ascontiguousarray(apply_orientation(mask, back))
