"""What the entry points share: how errors end them, and the flags that all of them have."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console

from slurm.errors import ClusterError
from stfmri.study.errors import exit_on_error
from stfmri.study.files import absolute


class Main(Protocol):
    """An entry point; without arguments it takes those of the command line."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        """Return the exit status."""
        ...


def entry_point(main: Main) -> Main:
    """As `exit_on_error`; where the cluster refuses or does not answer, the status is 1."""

    @functools.wraps(main)
    def guarded(arguments: Sequence[str] | None = None) -> int:
        try:
            return main(arguments)
        except ClusterError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    return exit_on_error(guarded)


def new_parser(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser whose help keeps its line breaks."""
    parser = argparse.ArgumentParser(
        prog=f"python launch/{name}.py",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_root(parser)
    return parser


def add_root(parser: argparse.ArgumentParser) -> None:
    """The folder that everything lies under."""
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="holds data/, runs/ and results/; on a cluster, a shared folder (default: here)",
    )


def root_of(options: argparse.Namespace) -> Path:
    """The root, absolute."""
    return absolute(options.root).resolve()


def console() -> Console:
    """Where an entry point writes; as wide as the terminal, or as its lines where there is none."""
    width = None if sys.stdout.isatty() else 160
    # No markup: a path or a class may hold what Rich would read as such.
    return Console(width=width, highlight=False, markup=False, emoji=False)


def minutes(seconds: float | None) -> str:
    """A duration as people say it: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if seconds is None:
        return "–"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    whole = round(seconds / 60)
    if whole < 60:
        return f"{whole} min"
    hours, rest = divmod(whole, 60)
    if hours < 48:
        return f"{hours} h {rest:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"
