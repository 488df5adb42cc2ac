"""Is what runs on this GPU right, and how fast is it? Figures with limits, part by part.

The parts are in benchmarks/gpu/, one module each. A part stops at the first figure outside its
limit, and the remaining parts are not run, unless told to keep going. Every figure so far is in the
JSON file at any time. The checks need torch, torchvision, accelerate, h5py and numpy alone, and
part E compares with whichever peers are installed.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import torch
from common import add_device, find_device, machine, new_parser
from gpu.record import OutOfLimitsError, Part, Report
from gpu.registry import PARTS

EPILOG = """\
Part E compares with torchio and monai where they are installed. A machine without internet takes
them as wheels, fetched where there is internet for its version of Python:

  pip download --no-deps --only-binary=:all: --python-version 3.12 \\
      --platform manylinux2014_x86_64 --dest wheels torchio nibabel simpleitk monai deprecated
  pip install --no-deps --no-index wheels/*.whl"""
PACKAGES = ("torch", "torchvision", "triton", "accelerate", "h5py", "numpy")


def check(report: Report, parts: list[Part]) -> int:
    """Run the parts.

    Returns:
        Exit status: 1 where a figure was outside its limits or a check failed.
    """
    for part in parts:
        report.part = part.letter
        report.say(f"part {part.letter}: {part.title}")
        try:
            part.run(report)
        except OutOfLimitsError as error:
            print(f"stopped at {error}", file=sys.stderr)
        except Exception:  # whatever it is, it belongs into the report
            report.outside.append(traceback.format_exc())
            print(report.outside[-1], file=sys.stderr)
        if report.outside and not report.keep_going:
            break
    report.write()
    if not report.outside:
        print(f"all figures are within their limits: {report.out}")
    return 1 if report.outside else 0


def main() -> int:
    """Run what the command line asks for."""
    parser = new_parser(__doc__ or "", EPILOG)
    add_device(parser)
    letters = [part.letter for part in PARTS]
    parser.add_argument(
        "--part",
        nargs="+",
        choices=letters,
        default=letters,
        help="; ".join(f"{part.letter}: {part.title}" for part in PARTS) + " (default: all)",
    )
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"), metavar="FILE")
    parser.add_argument(
        "--keep-going", action="store_true", help="go on after a figure outside its limits"
    )
    options = parser.parse_args()
    device = find_device(options.device)
    if device.type == "cpu" and not options.quick:
        parser.error("there is no GPU to check here; --quick runs the checks at toy sizes on a CPU")
    facts = {"machine": machine(PACKAGES, device), "cuda": torch.version.cuda}
    report = Report(device, options.quick, options.out, options.keep_going, facts)
    return check(report, [part for part in PARTS if part.letter in options.part])


if __name__ == "__main__":
    sys.exit(main())
