"""A real SLURM on one machine: munge, MariaDB, slurmdbd, slurmctld and 1 to 4 slurmd nodes.

    eval "$(python -m slurm.devcluster start)"      sets SLURM_CONF, then sbatch, squeue, ... work
    python -m slurm.devcluster status
    python -m slurm.devcluster stop

Everything (state, spool, logs, sockets, keys) lies in one private folder, on free loopback ports;
the machine's own services are not touched. The GPUs are fake: SLURM hands them out and sets
CUDA_VISIBLE_DEVICES, but nothing can compute on them: train with cluster.train.gres=null. Debian's
packages are listed in PROGRAMS.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from slurm.devcluster import daemons
from slurm.devcluster.cluster import DevCluster, default_folder
from slurm.errors import ClusterError


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns 0 when done, 1 when the cluster is not (wholly) there, 2 on misuse."""
    parser = argparse.ArgumentParser(
        prog="python -m slurm.devcluster", description="A real SLURM on this machine, for trying."
    )
    parser.add_argument("action", choices=["start", "stop", "status"])
    parser.add_argument(
        "--folder", type=Path, default=default_folder(), help="default: %(default)s"
    )
    parser.add_argument("--nodes", type=int, default=2, help="1 to 4; default: %(default)s")
    parser.add_argument("--gpus-per-node", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--max-array-size", type=int, default=1001, help="default: %(default)s")
    parser.add_argument("--no-accounting", action="store_true", help="no slurmdbd, no sacct")
    options = parser.parse_args(arguments)
    try:
        cluster = DevCluster(
            options.folder,
            nodes=options.nodes,
            gpus_per_node=options.gpus_per_node,
            accounting=not options.no_accounting,
            max_array_size=options.max_array_size,
        )
        return {"start": _start, "stop": _stop, "status": _status}[options.action](cluster)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; 'stop' ends what may be left", file=sys.stderr)
        return 130


def _start(cluster: DevCluster) -> int:
    began = time.monotonic()
    cluster.start()
    for name, value in cluster.environment().items():
        print(f"export {name}={value}")
    print(
        f"{cluster.layout.nodes} nodes are idle after {time.monotonic() - began:.0f} s; "
        f"logs: {cluster.layout.folder / 'log'}",
        file=sys.stderr,
    )
    return 0


def _stop(cluster: DevCluster) -> int:
    running = len(daemons.of_cluster(cluster.layout.folder))
    cluster.stop()
    print(f"stopped {running} processes of {cluster.layout.folder}", file=sys.stderr)
    return 0


def _status(cluster: DevCluster) -> int:
    running = sorted(daemons.of_cluster(cluster.layout.folder).values())
    if not running:
        print(f"no cluster runs in {cluster.layout.folder}")
        return 1
    print(f"folder   {cluster.layout.folder}")
    print(f"daemons  {' '.join(running)}")
    states = cluster.node_states()
    print("nodes    " + (" ".join(f"{k}={v}" for k, v in states.items()) or "no answer"))
    return 0 if states else 1


if __name__ == "__main__":
    sys.exit(main())
