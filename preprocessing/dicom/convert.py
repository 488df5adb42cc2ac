"""One series to one NIfTI file with dcm2niix, which knows what each manufacturer does differently.

Only voxels and geometry come out: no sidecar, no text in the header, no name or time in the gzip.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import dcm2niix
import nibabel as nib

from preprocessing.dicom.series import Series
from preprocessing.nifti import ScanError, parse
from stfmri.study.files import replacing

TIMEOUT_S = 600
# Temporary folders in the output start so; what a killed call left is removed by the next.
TEMPORARY = ".converting-"
# The NIfTI fields that hold text.
TEXTS = ("data_type", "db_name", "descrip", "aux_file", "intent_name")
FAST_AND_SMALL = 4  # gzip level: a tenth larger than the default, in half the time
OPTIONS = [
    *("-g", "i"),  # no defaults file of the user's
    *("-b", "n"),  # no sidecar
    *("-z", "n"),
    *("-x", "i"),  # neither crop nor rotate
    *("-c", ""),  # no comment
    *("-w", "2"),  # a second volume gets a name of its own, and shows
    *("-f", "scan"),
]


def convert(series: Series, target: Path, out: Path) -> None:
    """Write the volume of `series` to `target`, whole or not at all.

    Raises:
        ScanError: in words that hold nothing of the header.
    """
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=out) as name:
        images, volumes = Path(name) / "images", Path(name) / "volumes"
        images.mkdir()
        volumes.mkdir()
        for number, header in enumerate(series.headers):
            # dcm2niix takes folders; this one holds the series alone, each image once.
            _link(header.path.resolve(), images / f"{number:06d}.dcm")
        _run(images, volumes, Path(name))
        made = sorted(volumes.glob("*.nii"))
        if len(made) != 1:
            raise ScanError(
                f"dcm2niix made {len(made)} volumes of it; expected one (several echoes, times or "
                "parts in one series, or uneven slices)"
            )
        content = _without_texts(made[0].read_bytes())
        _check(content, series)
    _write(target, content)


def remove_leftovers(out: Path) -> None:
    """Drop the temporary files of a call that was killed."""
    for folder in out.glob(f"{TEMPORARY}*"):
        shutil.rmtree(folder, ignore_errors=True)
    for path in out.glob("scans/*/.*.tmp"):
        path.unlink(missing_ok=True)


def _link(source: Path, link: Path) -> None:
    try:
        link.symlink_to(source)
    except OSError:  # a file system without links
        shutil.copyfile(source, link)


def _run(images: Path, volumes: Path, home: Path) -> None:
    command = [dcm2niix.bin, *OPTIONS, "-o", str(volumes), str(images)]
    try:
        done = subprocess.run(
            command,
            cwd=home,
            env={"HOME": str(home), "PATH": os.environ.get("PATH", "")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ScanError(f"dcm2niix took longer than {TIMEOUT_S} s") from None
    # Its own words name files: they are not passed on.
    if done.returncode:
        truncated = b"File not large enough" in done.stdout
        why = "an image is truncated" if truncated else f"exit status {done.returncode}"
        raise ScanError(f"dcm2niix failed: {why}")


def _without_texts(content: bytes) -> bytes:
    """The same voxels and geometry under a header without text or extensions."""
    stored = nib.Nifti1Header(content[: nib.Nifti1Header.sizeof_hdr], check=False)
    offset = int(stored["vox_offset"])
    for name in TEXTS:
        stored[name] = b""
    stored["vox_offset"] = nib.Nifti1Header.single_vox_offset
    return stored.binaryblock + bytes(4) + content[offset:]


def _check(content: bytes, series: Series) -> None:
    """The volume must be the one that the headers announced."""
    image = parse(content)
    found, expected = sorted(image.data.shape), sorted(series.geometry.dims)
    if found != expected:
        raise ScanError(f"dcm2niix made a volume of {found} voxels; expected {expected}")


def _write(target: Path, content: bytes) -> None:
    # Neither the file's name nor the time: both would stand in the gzip header.
    with (
        replacing(target) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", FAST_AND_SMALL, file, mtime=0) as packed,
    ):
        packed.write(content)
