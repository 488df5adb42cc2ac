"""Read one NIfTI scan, once, and say in one line why it cannot be used."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from stfmri.study import files
from stfmri.study.errors import UserError
from stfmri.study.files import NotRegularFileError

GZIP_MAGIC = b"\x1f\x8b"
# What nibabel raises for a header that makes no sense.
UNREADABLE = (
    HeaderDataError,
    ImageFileError,
    WrapStructError,
    OSError,
    ValueError,
    OverflowError,
)
LARGEST = 1e30  # of a scan's values, with room for sums of them in float32
VOXEL_MM = (0.1, 20.0)  # sizes beyond these are a damaged header, not a scan


class ScanError(UserError):
    """A scan that cannot be used, for a reason that fits one line of `rejected.csv`."""


@dataclass(frozen=True)
class Image:
    """A 3-D scan as stored: `data * slope + inter` is its value, `affine` its place.

    Attributes:
        data: the stored numbers, in the file's own axes and type; conversion is left until the
            scan is cropped, since a head is several times its brain.
        affine: (i, j, k, 1) → RAS millimetres.
        oriented: whether the header says where left is (a qform or sform code above 0).
    """

    data: NDArray[np.generic]
    affine: NDArray[np.float64]
    slope: float = 1.0
    inter: float = 0.0
    oriented: bool = True

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel sizes in mm along the stored axes."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def values(self, box: tuple[slice, ...] = (slice(None),) * 3) -> NDArray[np.float32]:
        """The scan's values in `box`, a copy."""
        values = self.data[box].astype(np.float32)
        if (self.slope, self.inter) != (1.0, 0.0):
            values *= np.float32(self.slope)
            values += np.float32(self.inter)
        return values


def read_bytes(path: Path) -> bytes:
    """The file's bytes, read once for both its hash and its voxels.

    Raises:
        ScanError: where there is no readable file.
    """
    try:
        content = files.read_bytes(path)
    except NotRegularFileError as error:
        raise ScanError(str(error)) from error
    except OSError as error:
        raise ScanError(f"cannot read {path}: {error.strerror or error}") from error
    if not content:
        raise ScanError("the file is empty")
    return content


def parse(content: bytes) -> Image:
    """Decode the bytes of a `.nii` or `.nii.gz` file.

    Raises:
        ScanError: for anything but a finite, varying 3-D image with sane voxel sizes.
    """
    if content.startswith(GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ScanError(f"truncated or damaged gzip file ({error})") from error
    nifti = _nifti(content)
    shape = nifti.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        raise ScanError(f"expected a 3-D volume, found the shape {nifti.shape}")
    if nifti.get_data_dtype().kind not in "iuf":
        raise ScanError(f"expected real numbers, found voxels of type {nifti.get_data_dtype()}")
    stored = cast(ArrayProxy, nifti.dataobj)
    # Before room is made for it: a damaged header may announce terabytes.
    announced = math.prod(shape) * nifti.get_data_dtype().itemsize
    if not 0 <= stored.offset <= len(content) - announced:
        raise ScanError("truncated: fewer bytes than its header announces")
    try:
        data = stored.get_unscaled().reshape(shape, order="A")
    except (OSError, ValueError) as error:
        raise ScanError("truncated: fewer bytes than its header announces") from error
    image = Image(
        data=data,
        affine=nifti.affine,
        slope=float(stored.slope),
        inter=float(stored.inter),
        oriented=bool(nifti.header["qform_code"] > 0 or nifti.header["sform_code"] > 0),
    )
    _check(image)
    return image


def _nifti(content: bytes) -> nib.Nifti1Image:
    """The image whose header `content` starts with, in either NIfTI version and byte order."""
    sizes = {int.from_bytes(content[:4], order) for order in ("little", "big")}
    if sizes & {348}:
        kind = nib.Nifti1Image
    elif sizes & {540}:
        kind = nib.Nifti2Image
    else:
        raise ScanError("not a NIfTI file (.nii or .nii.gz)")
    try:
        # nibabel quietly replaces a voxel size of 0 by 1 mm: look before it does.
        raw = kind.header_class(content[: kind.header_class.sizeof_hdr], check=False)
        if raw["sform_code"] == 0 and not np.all(raw["pixdim"][1:4] > 0):
            raise ScanError(f"the header's voxel sizes are {raw['pixdim'][1:4].tolist()} mm")
        if np.isinf(raw["scl_slope"]):  # which nibabel takes for none; NaN does mean none
            raise ScanError("the header's scale is not finite")
        return kind.from_bytes(content)
    except UNREADABLE as error:
        raise ScanError(f"damaged NIfTI header ({str(error).splitlines()[0]})") from error


def _check(image: Image) -> None:
    affine = image.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ScanError("the header's affine is not invertible")
    if image.spacing.min() < VOXEL_MM[0] or image.spacing.max() > VOXEL_MM[1]:
        sizes = "×".join(f"{size:g}" for size in image.spacing)
        raise ScanError(f"voxels of {sizes} mm; expected {VOXEL_MM[0]:g}–{VOXEL_MM[1]:g} mm")
    if image.data.dtype.kind == "f":
        broken = image.data.size - np.count_nonzero(np.isfinite(image.data))
        if broken:
            raise ScanError(f"{broken} voxels are NaN or infinite")
    if not np.isfinite([image.slope, image.inter]).all():
        raise ScanError("the header's scale is not finite")
    ends = [float(image.data.min()), float(image.data.max())]
    if ends[0] == ends[1]:
        raise ScanError(f"constant volume: every voxel is {ends[0]:g}")
    if max(abs(end * image.slope + image.inter) for end in ends) > LARGEST:
        raise ScanError(f"values of up to {max(map(abs, ends)):g} × {image.slope:g} are no scan's")
