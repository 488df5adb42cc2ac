"""PyTorch's own CUDA code on a machine without a GPU.

The CUDA runtime is replaced by one that counts calls and computes nothing (`null_runtime.c`), in
child processes only. The allocator, the checks of device, dtype and layout, the launches, the
copies, the synchronisations and the capture of graphs are PyTorch's; what a kernel would have
computed is missing, so nothing can be said of values or of a GPU's time.
"""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Where wheels of PyTorch keep CUDA's headers; Triton has those of the compiler.
HEADERS = ("nvidia/cu*/include", "nvidia/cuda_runtime/include", "triton/backends/nvidia/include")


class CannotBuildError(Exception):
    """Something is missing that the null device is built from; says what."""


@dataclass(frozen=True)
class NullDevice:
    """The built libraries.

    Attributes:
        folder: of `libnull.so`, and of a `libcuda.so.1` that is no driver.
    """

    folder: Path

    def environment(self) -> dict[str, str]:
        """The variables with which a child process finds the null device."""
        own = {
            "LD_PRELOAD": str(self.folder / "libnull.so"),
            "LD_LIBRARY_PATH": str(self.folder),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")]),
            "CUDA_VISIBLE_DEVICES": "0",
            # The threads of a busy machine wait for each other.
            "OMP_NUM_THREADS": "1",
        }
        return os.environ | own

    def run(
        self, module: str, *arguments: str, extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m module` on the null device, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "tests.cuda.inside", module, *arguments],
            env=self.environment() | dict(extra or {}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
        )


def build(folder: Path) -> NullDevice:
    """Compile the null device into `folder`, in about a second.

    Raises:
        CannotBuildError: where there is no C compiler, or PyTorch's wheel has no CUDA.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise CannotBuildError("no C compiler: install gcc and libc6-dev")
    include = _include_folders()
    folder.mkdir(parents=True, exist_ok=True)
    build_library(compiler, "null_runtime.c", folder / "libnull.so", include)
    build_library(compiler, "null_driver.c", folder / "libcuda.so.1", ["-Wl,-soname,libcuda.so.1"])
    return NullDevice(folder)


def build_library(compiler: str, source: str, target: Path, flags: Sequence[str]) -> None:
    """Compile one shared library.

    Raises:
        CannotBuildError: with the compiler's message.
    """
    command = [compiler, "-O1", "-shared", "-fPIC", "-pthread", *flags]
    command += [str(HERE / source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CannotBuildError(f"{source} does not compile here: {done.stderr}")


def _include_folders() -> list[str]:
    packages = [Path(folder) for folder in site.getsitepackages()]
    found = [path for root in packages for pattern in HEADERS for path in root.glob(pattern)]
    if not any((path / "cuda_runtime_api.h").is_file() for path in found):
        raise CannotBuildError("the PyTorch installed here has no CUDA (no cuda_runtime_api.h)")
    return [f"-I{path}" for path in found]
