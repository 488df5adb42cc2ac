"""The cluster itself: its folder, its daemons, and how they are started and stopped."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType

from slurm.devcluster import daemons
from slurm.devcluster.settings import (
    Layout,
    database_arguments,
    database_setup_arguments,
    database_sql,
    gres_conf,
    munge_arguments,
    slurm_conf,
    slurmdbd_conf,
)
from slurm.errors import ClusterError

# Program that must be there -> Debian package that brings it
PROGRAMS = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "srun": "slurm-client",
}
ACCOUNTING_PROGRAMS = {
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
}
# Marks a folder as ours, so that a start never empties any other
MARKER = "devcluster.marker"
# Longest path of a Unix socket, in bytes, less the longest socket name we put in the folder
LONGEST_FOLDER = 107 - len("/mariadb.socket")
READY_TIMEOUT_S = 60.0


def default_folder() -> Path:
    """One cluster a user, in the machine's temporary folder."""
    return Path(tempfile.gettempdir()) / f"slurm-devcluster-{os.getuid()}"


def missing_packages(accounting: bool = True) -> list[str]:
    """Debian packages to install before a cluster can start; empty when all is there."""
    programs = PROGRAMS | (ACCOUNTING_PROGRAMS if accounting else {})
    return sorted({package for name, package in programs.items() if not daemons.which(name)})


class DevCluster:
    """A SLURM cluster of this user on this machine; a context manager starts and stops it.

    Args:
        folder: the cluster's private folder; made if missing, refused if it holds other things.
        nodes: slurmd daemons, 1 to 4, each with 8 CPUs and 64 GB that need not exist.
        gpus_per_node: fake GPUs a node.
        accounting: whether slurmdbd and MariaDB run; without them `sacct` fails.
        max_array_size: SLURM's MaxArraySize.
        kill_over_memory: whether jobs that take more memory than they asked for are killed.

    Raises:
        ClusterError: if the folder cannot be used or a number is out of range.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 2,
        gpus_per_node: int = 2,
        accounting: bool = True,
        max_array_size: int = 1001,
        kill_over_memory: bool = False,
    ) -> None:
        if not 1 <= nodes <= 4:
            raise ClusterError(f"the cluster has 1 to 4 nodes; found nodes={nodes}")
        if not 0 <= gpus_per_node <= 8:
            raise ClusterError(f"a node has 0 to 8 fake GPUs; found gpus_per_node={gpus_per_node}")
        if max_array_size < 2:
            raise ClusterError(f"max_array_size is at least 2; found {max_array_size}")
        folder = folder.expanduser().absolute()
        if not re.fullmatch(r"[A-Za-z0-9._/+-]+", str(folder)) or len(str(folder)) > LONGEST_FOLDER:
            raise ClusterError(
                f"the cluster's folder must be at most {LONGEST_FOLDER} letters, digits, '.', '_', "
                f"'/', '+' or '-' (SLURM and sockets allow no more); found {folder}; pass another"
            )
        self.layout = Layout(
            folder=folder,
            user=pwd.getpwuid(os.getuid()).pw_name,
            host=socket.gethostname().split(".")[0],
            nodes=nodes,
            gpus_per_node=gpus_per_node,
            ports={},
            accounting=accounting,
            max_array_size=max_array_size,
            kill_over_memory=kill_over_memory,
        )
        self._started: list[daemons.Daemon] = []
        self._by_name: dict[str, daemons.Daemon] = {}

    def __enter__(self) -> DevCluster:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """What clients (sbatch, squeue, ...) need in their environment."""
        return {"SLURM_CONF": str(self.layout.conf)}

    def start(self) -> None:
        """Start every daemon with fresh state and wait until all nodes are idle.

        Raises:
            ClusterError: if packages are missing, the folder is in use, or a daemon fails.
        """
        missing = missing_packages(self.layout.accounting)
        if missing:
            raise ClusterError(
                f"no SLURM to start: install it with 'apt-get install {' '.join(missing)}'"
            )
        if daemons.of_cluster(self.layout.folder):
            raise ClusterError(
                f"a cluster already runs, or crashed in part, in {self.layout.folder}; stop it "
                f"with 'python -m slurm.devcluster stop --folder {self.layout.folder}'"
            )
        self._prepare_folder()
        deadline = time.monotonic() + READY_TIMEOUT_S
        try:
            self._start_daemons(deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all jobs and daemons of this cluster, also those that a crash left."""
        folder = self.layout.folder
        if "slurmctld" in daemons.of_cluster(folder).values() and self.layout.conf.exists():
            # A daemon that hangs must not keep the others from being stopped
            daemons.client(
                ["scancel", f"--user={self.layout.user}"], self.environment(), timeout_s=10
            )
        daemons.stop_all(folder)
        for daemon in self._started:
            daemon.reap()
        self._started.clear()

    def _prepare_folder(self) -> None:
        """Empty the folder of an earlier cluster and write the configuration of this one."""
        folder = self.layout.folder
        if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != os.getuid()):
            raise ClusterError(f"{folder} is a link or belongs to another user; pass another")
        if folder.exists() and any(folder.iterdir()):
            if not (folder / MARKER).exists():
                raise ClusterError(
                    f"the cluster's folder must be new, empty or of an earlier cluster; {folder} "
                    "holds other files; pass another"
                )
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        (folder / MARKER).touch()
        for name in ("state", "spool", "log", *[f"spool/{n}" for n in self.layout.node_names]):
            (folder / name).mkdir(mode=0o700)
        for node in self.layout.node_names:
            for file in self.layout.gpu_files(node):
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                file.symlink_to("/dev/null")
        names = ["slurmctld", *self.layout.node_names]
        if self.layout.accounting:
            names += ["database", "slurmdbd"]
        self.layout.ports.update(zip(names, daemons.free_ports(len(names)), strict=True))
        self.layout.conf.write_text(slurm_conf(self.layout), encoding="utf-8")
        (folder / "gres.conf").write_text(gres_conf(self.layout), encoding="utf-8")
        daemons.write_secret(folder / "munge.key", secrets.token_bytes(128))

    def _daemon(
        self, program: str, arguments: list[str], label: str | None = None
    ) -> daemons.Daemon:
        daemon = daemons.Daemon(self.layout.folder, program, arguments, label=label)
        self._started.append(daemon)
        self._by_name[daemon.name] = daemon
        return daemon

    def _start_daemons(self, deadline: float) -> None:
        """Start the daemons in the order in which they need each other."""
        munged = self._daemon("munged", munge_arguments(self.layout))
        munged.wait_until(self.layout.munge_socket.exists, deadline)
        if self.layout.accounting:
            self._start_accounting(deadline)
        controller = self._start_controller("-c", deadline=deadline)
        for node in self.layout.node_names:
            self.start_node(node)
        controller.wait_until(lambda: set(self.node_states().values()) == {"idle"}, deadline)

    def _start_controller(self, *flags: str, deadline: float) -> daemons.Daemon:
        controller = self._daemon("slurmctld", ["-D", *flags, "-f", str(self.layout.conf)])
        controller.wait_until(
            lambda: daemons.client(["scontrol", "ping"], self.environment()).returncode == 0,
            deadline,
        )
        return controller

    def kill_controller(self) -> None:
        """Kill slurmctld: jobs go on, and no client gets an answer."""
        self._by_name["slurmctld"].kill()

    def restart_controller(self) -> None:
        """Start slurmctld again, from the state that it saved.

        Raises:
            ClusterError: if it does not answer in time.
        """
        self._start_controller(deadline=time.monotonic() + READY_TIMEOUT_S)

    def kill_node(self, node: str) -> None:
        """Kill a node with all that runs on it, as a power cut would; it counts as down."""
        self._by_name[f"slurmd-{node}"].kill()
        daemons.kill_jobs_of(self.layout.folder, node)

    def start_node(self, node: str) -> None:
        """Start a node's daemon; it reports to the controller by itself."""
        self._daemon("slurmd", ["-D", "-N", node, "-f", str(self.layout.conf)], label=node)

    def _start_accounting(self, deadline: float) -> None:
        """Start MariaDB and slurmdbd and register the cluster."""
        folder, password = self.layout.folder, secrets.token_hex(16)
        daemons.write_secret(
            folder / "slurmdbd.conf", slurmdbd_conf(self.layout, password).encode()
        )
        daemons.write_secret(folder / "database.sql", database_sql(password).encode())
        daemons.run(["mariadb-install-db", *database_setup_arguments(self.layout)], folder)
        database = self._daemon("mariadbd", database_arguments(self.layout))
        database.wait_until(lambda: daemons.listens(self.layout.ports["database"]), deadline)
        accounting = self._daemon("slurmdbd", ["-D"])
        accounting.wait_until(lambda: daemons.listens(self.layout.ports["slurmdbd"]), deadline)
        register = ["sacctmgr", "--immediate", "add", "cluster", "dev"]
        accounting.wait_until(
            lambda: daemons.client(register, self.environment()).returncode == 0, deadline
        )

    def node_states(self) -> dict[str, str]:
        """State of each node as `sinfo` tells it; empty when the controller does not answer."""
        answer = daemons.client(
            ["sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %T"],
            self.environment(),
        )
        if answer.returncode != 0:
            return {}
        return dict(line.split() for line in answer.stdout.splitlines() if line.strip())
