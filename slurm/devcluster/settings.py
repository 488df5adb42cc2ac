"""Configuration of the development cluster: slurm.conf, gres.conf, the database, arguments.

Every path lies in the cluster's own folder and every port is passed in, so several clusters live
side by side and nothing of the machine's own SLURM, MUNGE or MariaDB is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Where the cluster's parts are.

    Attributes:
        folder: the private folder of the cluster; its text holds only letters, digits and `._/-+`,
            because slurm.conf knows no quoting.
        user: name of the user who runs the daemons, and the only one whose jobs run.
        host: short name of this machine.
        nodes: number of slurmd daemons, each a node `n1`, `n2`, ...
        gpus_per_node: fake GPUs of each node; 0 for none.
        ports: free loopback ports by daemon: `database`, `slurmdbd`, `slurmctld`, `n1`, ...
        accounting: whether slurmdbd and MariaDB run.
        max_array_size: SLURM's MaxArraySize; array indices stay below it.
        kill_over_memory: whether SLURM watches the jobs' memory, and kills those that take more
            than they asked for.
    """

    folder: Path
    user: str
    host: str
    nodes: int
    gpus_per_node: int
    ports: dict[str, int]
    accounting: bool
    max_array_size: int
    kill_over_memory: bool = False

    @property
    def conf(self) -> Path:
        """The slurm.conf that clients find through SLURM_CONF."""
        return self.folder / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        """Where munged listens."""
        return self.folder / "munge.socket"

    @property
    def database_socket(self) -> Path:
        """Where MariaDB listens besides its loopback port."""
        return self.folder / "mariadb.socket"

    @property
    def node_names(self) -> list[str]:
        """`n1`, `n2`, ..."""
        return [f"n{number}" for number in range(1, self.nodes + 1)]

    def gpu_files(self, node: str) -> list[Path]:
        """Files that stand for the GPUs of `node`: SLURM only asks that they be devices."""
        return [self.folder / "gpus" / node / f"gpu{index}" for index in range(self.gpus_per_node)]


def slurm_conf(layout: Layout) -> str:
    """The text of slurm.conf."""
    folder = layout.folder
    lines = [
        "ClusterName=dev",
        f"SlurmctldHost={layout.host}(127.0.0.1)",
        f"SlurmctldPort={layout.ports['slurmctld']}",
        f"SlurmUser={layout.user}",
        f"SlurmdUser={layout.user}",
        "AuthType=auth/munge",
        f"AuthInfo=socket={layout.munge_socket}",
        "CredType=cred/munge",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool/%n",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"SlurmdPidFile={folder}/slurmd-%n.pid",
        f"SlurmctldLogFile={folder}/log/slurmctld.log",
        f"SlurmdLogFile={folder}/log/slurmd-%n.log",
        # No control groups: they need privileges that containers and CI machines withhold
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/linux",
        f"JobAcctGatherFrequency={1 if layout.kill_over_memory else 5}",
        "MpiDefault=none",
        "PropagateResourceLimits=NONE",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU_Memory",
        # Nodes may claim more CPUs and memory than the machine has
        "SlurmdParameters=config_overrides",
        "DefMemPerCPU=100",
        f"MaxArraySize={layout.max_array_size}",
        # Quick turns: schedule at once and every second
        "SchedulerType=sched/backfill",
        "SchedulerParameters=bf_interval=1,batch_sched_delay=0,sched_interval=1,"
        "preempt_send_user_signal",
        # Time limits are exact to the minute, a killed job is gone after seconds
        "OverTimeLimit=0",
        "KillWait=5",
        "InactiveLimit=0",
        "MinJobAge=30",
        "ReturnToService=2",
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        "DebugFlags=NO_CONF_HASH",
    ]
    if layout.kill_over_memory:
        lines.append("JobAcctGatherParams=OverMemoryKill")
    if layout.accounting:
        lines += [
            "AccountingStorageType=accounting_storage/slurmdbd",
            "AccountingStorageHost=127.0.0.1",
            f"AccountingStoragePort={layout.ports['slurmdbd']}",
            # With MUNGE the "password" is the socket that vouches for connections to slurmdbd
            f"AccountingStoragePass={layout.munge_socket}",
        ]
    else:
        lines.append("AccountingStorageType=accounting_storage/none")
    gres = ""
    if layout.gpus_per_node:
        lines.append("GresTypes=gpu")
        gres = f" Gres=gpu:{layout.gpus_per_node}"
    for name in layout.node_names:
        lines.append(
            f"NodeName={name} NodeHostname={layout.host} NodeAddr=127.0.0.1 "
            f"Port={layout.ports[name]} CPUs=8 RealMemory=64000{gres} State=UNKNOWN"
        )
    nodes = ",".join(layout.node_names)
    lines += [
        f"PartitionName=main Nodes={nodes} Default=YES MaxTime=INFINITE DefaultTime=10 "
        "PriorityTier=2 PreemptMode=OFF State=UP",
        # Jobs here are preempted by jobs of `main`
        f"PartitionName=low Nodes={nodes} MaxTime=INFINITE DefaultTime=10 PriorityTier=1 "
        "PreemptMode=REQUEUE State=UP",
    ]
    return "\n".join(lines) + "\n"


def gres_conf(layout: Layout) -> str:
    """The text of gres.conf: a GPU without a file would leave the node invalid."""
    lines = []
    for node in layout.node_names:
        files = layout.gpu_files(node)
        if files:
            last = len(files) - 1
            lines.append(f"NodeName={node} Name=gpu File={files[0].parent}/gpu[0-{last}]")
    return "\n".join(lines) + "\n"


def slurmdbd_conf(layout: Layout, password: str) -> str:
    """The text of slurmdbd.conf, which SLURM accepts with mode 0600 only."""
    folder = layout.folder
    lines = [
        "DbdHost=localhost",
        "DbdAddr=127.0.0.1",
        f"DbdPort={layout.ports['slurmdbd']}",
        f"SlurmUser={layout.user}",
        "AuthType=auth/munge",
        f"AuthInfo=socket={layout.munge_socket}",
        "StorageType=accounting_storage/mysql",
        "StorageHost=127.0.0.1",
        f"StoragePort={layout.ports['database']}",
        "StorageUser=slurm",
        f"StoragePass={password}",
        "StorageLoc=slurm",
        f"LogFile={folder}/log/slurmdbd.log",
        f"PidFile={folder}/slurmdbd.pid",
    ]
    return "\n".join(lines) + "\n"


def database_sql(password: str) -> str:
    """What MariaDB runs at its start: one user for slurmdbd, and no open root account."""
    return (
        "CREATE DATABASE IF NOT EXISTS slurm;\n"
        f"CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON slurm.* TO 'slurm'@'127.0.0.1';\n"
        f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{password}';\n"
        "FLUSH PRIVILEGES;\n"
    )


def munge_arguments(layout: Layout) -> list[str]:
    """munged on a socket and a key of its own."""
    folder = layout.folder
    return [
        # munged wants its socket's folder open to all users; this one is private
        "--force",
        "--foreground",
        f"--socket={layout.munge_socket}",
        f"--key-file={folder}/munge.key",
        f"--pid-file={folder}/munged.pid",
        f"--seed-file={folder}/munged.seed",
        f"--log-file={folder}/log/munged.log",
    ]


def database_setup_arguments(layout: Layout) -> list[str]:
    """mariadb-install-db: an empty database."""
    return [
        "--no-defaults",
        f"--datadir={layout.folder}/database",
        f"--user={layout.user}",
        "--skip-test-db",
        "--auth-root-authentication-method=normal",
    ]


def database_arguments(layout: Layout) -> list[str]:
    """mariadbd on a loopback port."""
    folder = layout.folder
    return [
        "--no-defaults",
        f"--datadir={folder}/database",
        f"--user={layout.user}",
        f"--socket={layout.database_socket}",
        f"--port={layout.ports['database']}",
        "--bind-address=127.0.0.1",
        f"--pid-file={folder}/mariadbd.pid",
        f"--init-file={folder}/database.sql",
        "--skip-name-resolve",
        # Nothing here needs to outlive the cluster
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=32M",
    ]
