"""Call the user's own brain extraction command on a scan, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import nibabel as nib

from preprocessing.child import end_with
from preprocessing.masks import Mask, read_mask
from preprocessing.nifti import Image, ScanError

TIMEOUT_S = 3600
# First lines that say less than the last one.
PREAMBLES = ("Traceback", "usage:")


def extract_by(
    arguments: Callable[[Path, Path], Sequence[str]],
    mask_name: str,
    image: Image,
    environment: Mapping[str, str] | None = None,
) -> Mask:
    """Run a command on the scan's voxels and read the mask that it writes.

    Args:
        arguments: the command line, from the head's file and the folder of the results.
        mask_name: the file of the mask in that folder.
        environment: variables on top of this process's own.

    Raises:
        ScanError: with what the command said, where it fails or writes no mask.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        head = folder / "head.nii.gz"
        nib.save(nib.Nifti1Image(image.values(), image.affine), head)
        # As many heads at a time as cores: more threads for each would only wait.
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        try:
            subprocess.run(
                arguments(head, folder),
                check=True,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                env=variables,
                preexec_fn=partial(end_with, os.getpid()),
            )
        except subprocess.CalledProcessError as error:
            raise ScanError(_said(error)) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ScanError(str(error)) from error
        mask = folder / mask_name
        if not mask.is_file():
            raise ScanError("the command ended without an error and wrote no mask")
        return read_mask(mask, image)


def _said(error: subprocess.CalledProcessError) -> str:
    """The line that tells most of what a failed command printed."""
    printed = error.stderr.strip() or error.stdout.strip() or f"exit status {error.returncode}"
    lines = printed.splitlines()
    return lines[-1] if lines[0].startswith(PREAMBLES) else lines[0]
