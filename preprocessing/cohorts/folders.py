"""What lies in a folder: subjects' folders and NIfTI files."""

from __future__ import annotations

from pathlib import Path

NIFTI_SUFFIXES = (".nii.gz", ".nii")


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` by name; hidden ones do not count."""
    return sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir()
    )


def _is_scan(path: Path) -> bool:
    """Whether it is a file, or a link to one that is not there, which is missed when it is read."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def nifti_files(folder: Path) -> dict[str, Path]:
    """The NIfTI files in `folder` by their names without suffix, sorted.

    Where one scan is there both compressed and not, the compressed file counts. Hidden files do
    not: macOS leaves `._<name>` beside each file on a foreign disk.
    """
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    found = {}
    for suffix in reversed(NIFTI_SUFFIXES):
        for name in names:
            if name.endswith(suffix) and _is_scan(folder / name):
                found[name.removesuffix(suffix)] = folder / name
    return dict(sorted(found.items()))
