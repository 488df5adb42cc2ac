"""Daemons of the development cluster: start, watch and stop them, also those a crash left.

A daemon is known by a variable in its environment that names the cluster's folder. Process
numbers in files would go stale at a crash and could then name a stranger.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from slurm.errors import ClusterError

FOLDER_VARIABLE = "SLURM_DEVCLUSTER_FOLDER"
# Debian keeps daemons where the PATH of ordinary users does not lead
SEARCH_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/local/sbin:/usr/sbin:/sbin"]
)


def which(program: str) -> str | None:
    """Full path of a program or daemon; None if it is not installed."""
    return shutil.which(program, path=SEARCH_PATH)


def _environment(folder: Path) -> dict[str, str]:
    """A plain environment: nothing of a surrounding job, nothing of the user's shell."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "USER") if name in os.environ}
    return kept | {
        "PATH": SEARCH_PATH,
        "SLURM_CONF": str(folder / "slurm.conf"),
        FOLDER_VARIABLE: str(folder),
    }


class Daemon:
    """One daemon in the foreground of its own session, its output in the cluster's log folder."""

    def __init__(
        self, folder: Path, program: str, arguments: list[str], *, label: str | None = None
    ) -> None:
        self.name = program if label is None else f"{program}-{label}"
        self.log = folder / "log" / f"{self.name}.out"
        with self.log.open("ab") as output:  # a daemon started again adds to it
            self._process = subprocess.Popen(
                [which(program) or program, *arguments],
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # An interrupt at the terminal is for the caller, who then stops the daemons
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool], deadline: float) -> None:
        """Wait until `ready()` holds.

        Args:
            ready: asked some ten times a second.
            deadline: on the monotonic clock, in seconds.

        Raises:
            ClusterError: if the daemon ends before, or the deadline passes.
        """
        while not ready():
            status = self._process.poll()
            if status is not None:
                raise ClusterError(
                    f"{self.name} ended with status {status}: {_last_line(self.log)} "
                    f"(logs: {self.log.parent})"
                )
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{self.name} was not ready in time: {_last_line(self.log)} "
                    f"(logs: {self.log.parent})"
                )
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.kill()
        self.reap()

    def reap(self) -> None:
        """Take note of the daemon's end, so that the system forgets the process."""
        self._process.wait()


def run(command: list[str], folder: Path) -> None:
    """Run a set-up command to its end.

    Raises:
        ClusterError: if it fails.
    """
    log = folder / "log" / f"{command[0]}.out"
    with log.open("wb") as output:
        status = subprocess.run(
            [which(command[0]) or command[0], *command[1:]],
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if status != 0:
        raise ClusterError(f"{command[0]} failed with status {status}: {_last_line(log)} ({log})")


def client(
    command: list[str], environment: Mapping[str, str], *, timeout_s: float = 15
) -> subprocess.CompletedProcess[str]:
    """Run a SLURM client against the cluster; a client that hangs counts as failed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    try:
        return subprocess.run(
            command,
            env=clean | {"PATH": SEARCH_PATH} | dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer in {timeout_s:g} s")


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports that nothing listens on.

    They lie below the range that the kernel hands to outgoing connections, so none is taken
    between now and the daemon's start by a mere client.
    """
    found: list[int] = []
    candidates = random.SystemRandom().sample(range(20000, 32000), 500)
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise ClusterError(f"found only {len(found)} of {count} free ports between 20000 and 32000")


def listens(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that its owner alone can read, from the first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def of_cluster(folder: Path) -> dict[int, str]:
    """Process number and name of everything that belongs to the cluster in `folder`.

    These are its daemons, the steps they started, and the jobs inside them.
    """
    daemon_mark = f"{FOLDER_VARIABLE}={folder}".encode()
    conf_mark = f"SLURM_CONF={folder / 'slurm.conf'}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            name = (entry / "comm").read_text().strip()
            zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:  # ended in between, or another user's
            continue
        in_job = any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
        if not zombie and (daemon_mark in variables or (conf_mark in variables and in_job)):
            found[int(entry.name)] = name
    return found


def kill_jobs_of(folder: Path, node: str, *, patience_s: float = 10) -> None:
    """End every job on one node of the cluster, and the processes of SLURM that watch over them."""
    mark = f"SLURMD_NODENAME={node}".encode()
    ours = of_cluster(folder)
    jobs = {pid for pid in ours if mark in _read_process(pid, "environ").split(b"\0")}
    # The fourth field of stat is the parent's number; the second may itself hold blanks
    stats = [_read_process(pid, "stat").rpartition(b")")[2].split() for pid in jobs]
    parents = {int(fields[1]) for fields in stats if fields}
    watching = {pid for pid in parents if ours.get(pid) == "slurmstepd"}
    _signal(watching, signal.SIGKILL)
    _signal(jobs, signal.SIGKILL)
    # A busy machine takes a moment to end what was killed.
    deadline = time.monotonic() + patience_s
    while of_cluster(folder).keys() & (watching | jobs) and time.monotonic() < deadline:
        time.sleep(0.05)


def _read_process(pid: int, file: str) -> bytes:
    """What the kernel tells of a process; nothing once it has ended."""
    try:
        return (Path("/proc") / str(pid) / file).read_bytes()
    except OSError:
        return b""


def stop_all(folder: Path, *, patience_s: float = 10) -> None:
    """End every process of the cluster: politely, in order, and then by force.

    The node daemons go first, since they would report the others' end as failures; the database
    goes last, since slurmdbd writes to it until its own end.
    """
    order = ["slurmd", "slurmctld", "slurmdbd", "munged", "mariadbd"]
    for name in order:
        _signal({pid for pid, found in of_cluster(folder).items() if found == name}, signal.SIGTERM)
        _wait(folder, name, patience_s)
    _signal(set(of_cluster(folder)), signal.SIGKILL)
    _wait(folder, None, patience_s)
    left = of_cluster(folder)
    if left:
        raise ClusterError(f"could not stop {left} of the cluster in {folder}")


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # ended in between
            continue


def _wait(folder: Path, name: str | None, patience_s: float) -> None:
    """Wait until no process of that name (None: of any) is left, or patience ends."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if not any(name in (None, found) for found in of_cluster(folder).values()):
            return
        time.sleep(0.05)


def _last_line(log: Path) -> str:
    """Last line of a log, an error if there is one."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return (errors or lines or ["its log is empty"])[-1].strip()
