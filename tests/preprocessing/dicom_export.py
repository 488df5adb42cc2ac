"""Write volumes as DICOM series, as a scanner would, for the tests of preprocessing.dicom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

T1_FACTS = {
    "SeriesDescription": "t1_mprage_sag_p2_iso",
    "ScanningSequence": ["GR", "IR"],
    "RepetitionTime": 2000,
    "EchoTime": 3,
    "InversionTime": 900,
}


def oblique_affine(spacing_mm: tuple[float, float, float] = (1.1, 0.9, 2.0)) -> NDArray[np.float64]:
    """Voxels to RAS mm: rotated about two axes, as an angulated scan is."""
    a, b = np.deg2rad([17.0, -11.0])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag(spacing_mm)
    affine[:3, 3] = (-31.0, 12.5, -40.25)
    return affine


def ramp(shape: tuple[int, int, int] = (20, 16, 12), seed: int = 0) -> NDArray[np.int16]:
    """Voxels that all differ from their neighbours, so that a flip or shift shows."""
    return np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape).astype(np.int16)


def write_series(
    folder: Path,
    voxels: NDArray[np.int16],
    affine: NDArray[np.float64] | None = None,
    *,
    skip: tuple[int, ...] = (),
    **fields: object,
) -> list[Path]:
    """Write one file a slice; `fields` are set in each header.

    Args:
        voxels: (i along a DICOM row, j along a column, slice).
        affine: (i, j, k, 1) → RAS mm.
        skip: slices that are not written.
    """
    affine = oblique_affine() if affine is None else affine
    folder.mkdir(parents=True, exist_ok=True)
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    paths = []
    for place in range(voxels.shape[2]):
        if place in skip:
            continue
        data = _file(MR_IMAGE)
        _set(data, {**uids, **T1_FACTS, "Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY"]})
        _set(data, {"InstanceNumber": place + 1, "SeriesNumber": 3, "PatientID": "P1"})
        _set(data, _plane(affine, place))
        _set_pixels(data, voxels[:, :, place])
        _set(data, fields)
        # Names as an export has them: no suffix, and not in the order of the slices.
        path = folder / f"I{(place * 7) % 1000:03d}{place:03d}"
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_enhanced(
    path: Path, voxels: NDArray[np.int16], affine: NDArray[np.float64], **fields: object
) -> Path:
    """Write all slices as the frames of one enhanced MR file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = _file(ENHANCED_MR)
    facts = {name: T1_FACTS[name] for name in ("SeriesDescription",)}
    _set(data, {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), **facts})
    _set(data, {"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "M", "NONE"]})
    _set(data, {"SeriesNumber": 4, "InstanceNumber": 1, "PatientID": "P1"})
    frames = []
    for place in range(voxels.shape[2]):
        plane = _plane(affine, place)
        group = Dataset()
        group.PlanePositionSequence = [_item(plane, "ImagePositionPatient")]
        content = Dataset()
        content.InStackPositionNumber, content.StackID = place + 1, "1"
        content.DimensionIndexValues = [1, place + 1]
        group.FrameContentSequence = [content]
        frames.append(group)
    shared = Dataset()
    shared.PlaneOrientationSequence = [_item(plane, "ImageOrientationPatient")]
    shared.PixelMeasuresSequence = [_item(plane, "PixelSpacing", "SliceThickness")]
    echo, timing = Dataset(), Dataset()
    echo.EffectiveEchoTime, timing.RepetitionTime = 3.0, 2000.0
    shared.MREchoSequence, shared.MRTimingAndRelatedParametersSequence = [echo], [timing]
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = frames
    _set_pixels(data, voxels)
    data.NumberOfFrames = voxels.shape[2]
    _set(data, fields)
    data.save_as(path, enforce_file_format=True)
    return path


def _file(kind: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    return data


def _plane(affine: NDArray[np.float64], place: int) -> dict[str, object]:
    """Where slice `place` lies, in DICOM's LPS: x and y point the other way than in RAS."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :2] / spacing[:2]
    return {
        "ImagePositionPatient": [f"{mm:.8g}" for mm in (lps @ [0, 0, place, 1])[:3]],
        "ImageOrientationPatient": [f"{share:.8g}" for share in directions.T.ravel()],
        "PixelSpacing": [f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"],
        "SliceThickness": f"{spacing[2]:.8g}",
    }


def _item(fields: dict[str, object], *names: str) -> Dataset:
    item = Dataset()
    _set(item, {name: fields[name] for name in names})
    return item


def _set_pixels(data: Dataset, voxels: NDArray[np.int16]) -> None:
    """Store slices (i, j) or (i, j, k) with i along a row."""
    data.Columns, data.Rows = voxels.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 1
    data.PixelData = np.ascontiguousarray(voxels.T.astype("<i2")).tobytes()


def _set(data: Dataset, fields: dict[str, object]) -> None:
    for name, value in fields.items():
        setattr(data, name, value)
