"""What this machine or cluster lacks, and the fix."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from launch.checks import FAIL, OK, WARN, cluster_checks, data_checks, machine_checks
from launch.cli import console, entry_point, new_parser, root_of

STYLES = {OK: "green", WARN: "yellow", FAIL: "red"}
EPILOG = """\
Run it on the login node, and once on a compute node: srun --gres=gpu:1 python launch/doctor.py

ok: as it should be; warn: works, but slower or with less; fail: in the way of a run.

exit status: 0 nothing fails; 1 something does; 2 the call was wrong"""


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Run every check and print one line each."""
    options = new_parser("doctor", __doc__ or "", EPILOG).parse_args(arguments)
    root = root_of(options)
    table = Table("", "check", "found", "what to do", box=None, pad_edge=False)
    worst = OK
    for finding in (*machine_checks(), *cluster_checks(), *data_checks(root)):
        status = Text(finding.status, style=STYLES[finding.status])
        table.add_row(status, finding.what, finding.found, finding.fix)
        worst = max(worst, finding.status, key=(OK, WARN, FAIL).index)
    out = console()
    out.print(table)
    out.print(
        {OK: "all well", WARN: "nothing is in the way", FAIL: "see the lines marked fail"}[worst]
    )
    return 1 if worst == FAIL else 0


if __name__ == "__main__":
    sys.exit(main())
