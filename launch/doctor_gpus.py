"""The doctor's look at GPUs: what torch computes on, and whether runs can share it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence

from launch.finding import FAIL, OK, WARN, Finding
from slurm.gpus import gpus, mps_runs

TORCH_TIMEOUT_S = 120

# In a process of its own: a broken torch must not take the doctor with it.
ASK_TORCH = """
import json, torch
able = torch.cpu.get_capabilities()
gpus = []
for number in range(torch.cuda.device_count()):
    about = torch.cuda.get_device_properties(number)
    gpus.append([about.name, about.total_memory / 2**30, about.major, about.minor])
bf16 = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
built = {"built_for": torch.version.cuda, "kernels": torch.cuda.get_arch_list()}
print(json.dumps({"gpus": gpus, "bf16": bf16, **built}))
"""


def gpu_checks() -> Iterator[Finding]:
    """What torch computes on, in which precision, and whether runs can share it."""
    yield from _devices()
    yield from _sharing()


def _devices() -> Iterator[Finding]:
    """What torch computes on, and in which precision."""
    try:
        answer = subprocess.run(
            [sys.executable, "-c", ASK_TORCH],
            capture_output=True,
            text=True,
            timeout=TORCH_TIMEOUT_S,
            check=False,
        )
        told = json.loads(answer.stdout) if answer.returncode == 0 else None
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        told = None
    if told is None:
        yield Finding(FAIL, "torch", "cannot be imported", "install torch as its site says")
        return
    for name, memory, *capability in told["gpus"]:
        found = f"{name}, {memory:.0f} GB"
        if told["built_for"] and not has_kernels(capability, told["kernels"]):
            fix = f"this torch runs on {', '.join(told['kernels'])} alone"
            yield Finding(FAIL, "GPU", found, f"{fix}: install another build, or use another GPU")
        elif capability[0] >= 7:  # tensor cores that multiply in half precision
            yield Finding(OK, "GPU", f"{found}, fp16")
        else:
            yield Finding(WARN, "GPU", found, "fp16 is slow: use a newer GPU")
    if not told["gpus"] and shutil.which("nvidia-smi"):
        fix = (
            f"install the torch that the driver supports (this one needs CUDA {told['built_for']})"
        )
        yield Finding(FAIL, "GPU", "there is one, torch does not see it", fix)
    elif not told["gpus"]:
        fix = "fine for a login node and for trials" + (
            "" if told["bf16"] else "; full size is slow"
        )
        precision = "bf16" if told["bf16"] else "fp32 (no bf16 units)"
        yield Finding(WARN, "GPU", f"none here; the CPU trains in {precision}", fix)


def has_kernels(capability: Sequence[int], kernels: Sequence[str]) -> bool:
    """Whether code for some of `kernels` runs on an NVIDIA GPU of this compute capability.

    Args:
        capability: major and minor.
        kernels: as `torch.cuda.get_arch_list` has them. `sm_86` runs on GPUs of the same major and
            no lesser minor, `compute_86` on any that is no older, `sm_90a` on 9.0 alone (CUDA C++
            Programming Guide, 'Binary Compatibility' and 'PTX Compatibility').
    """
    for kernel in kernels:
        kind, _, number = kernel.partition("_")
        major, minor = divmod(int(number.rstrip("af")), 10)
        if number[-1] in "af":
            runs = (major, minor) == tuple(capability)
        elif kind == "compute":
            runs = (major, minor) <= tuple(capability)
        else:
            runs = major == capability[0] and minor <= capability[1]
        if runs:
            return True
    return False


def _sharing() -> Iterator[Finding]:
    """Whether several runs may compute on each GPU at a time (`cluster.runs_per_gpu`)."""
    found = gpus()
    has_mps = bool(found) and mps_runs()
    for gpu in found:
        what = f"sharing GPU {gpu.index}"
        text = f"compute mode {gpu.compute_mode}, MPS {'runs' if has_mps else 'does not run'}"
        if gpu.compute_mode == "Prohibited":
            yield Finding(FAIL, what, text, "nothing may compute on it: choose another GPU")
        elif gpu.takes_several or has_mps:
            yield Finding(OK, what, text)
        else:
            fix = "one run at a time: leave cluster.runs_per_gpu at 1, start MPS, or ask the staff"
            yield Finding(WARN, what, text, fix)
