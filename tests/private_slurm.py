"""A Slurm of one node for as long as a test takes: on the loopback interface, under one folder, as whoever tests."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "squeue", "scancel", "scontrol", "srun")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
SYSTEM = "/usr/sbin:/sbin"  # where Debian keeps daemons, which an ordinary user's PATH lacks
PATIENCE = 60  # seconds until the node is idle

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SchedulerParameters=sched_interval=2,bf_interval=5,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
MinJobAge=3600
ReturnToService=2
KillWait=5
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={megabytes} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def install() -> str | None:
    """Have Slurm and munge on this machine; root on a Debian installs them.

    Returns:
        None, or the reason why they are not here.
    """
    if _all_there():
        return _loopback()
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return "Slurm is not installed, and only root on a Debian can install it"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        try:
            done = subprocess.run(
                ["apt-get", *command], env=environment, capture_output=True, text=True, timeout=300, check=False
            )
        except subprocess.TimeoutExpired:
            return f"apt-get {command[0]} did not end within 300 s"
        if done.returncode != 0:
            return f"apt-get {command[0]} failed: {done.stderr.strip()[-300:]}"
    return _loopback() if _all_there() else "Slurm's packages lack a program that is needed"


def _all_there() -> bool:
    path = f"{os.environ['PATH']}:{SYSTEM}"
    return all(shutil.which(name, path=path) for name in (*DAEMONS, *CLIENTS))


def _loopback() -> str | None:
    try:
        found = socket.gethostbyname(socket.gethostname())
    except OSError as error:
        return f"the name of this host, {socket.gethostname()}, cannot be resolved: {error}"
    return None if found.startswith("127.") else f"{socket.gethostname()} is {found}, not an address of the loopback"


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Slurm under `folder`; yields the environment in which its clients, and Snakemake's, find it.

    Raises:
        RuntimeError: a daemon ended, or the node was not idle in time; with what the daemons logged.
    """
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)  # munged refuses a socket in a folder that others can write to, or cannot enter
    path = f"{os.environ['PATH']}:{SYSTEM}"
    configuration = folder / "slurm.conf"
    controller, node = _free_ports(2)
    configuration.write_text(
        CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            controller=controller,
            node=node,
            user=pwd.getpwuid(os.geteuid()).pw_name,
            folder=folder,
            cpus=len(os.sched_getaffinity(0)),
            megabytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        )
    )
    # Jobs of the executor `slurm` call srun with the variables of Slurm removed, SLURM_CONF among them.
    wrapper = folder / "bin" / "srun"
    wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {shutil.which("srun")} "$@"\n')
    wrapper.chmod(0o755)
    environment = {**os.environ, "PATH": f"{wrapper.parent}:{path}", "SLURM_CONF": str(configuration)}
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    commands = {
        "munged": ["--foreground", "--force", *(f"--{option}={folder}/munge.{end}" for option, end in files.items())],
        "slurmctld": ["-D", "-f", configuration],
        "slurmd": ["-D", "-f", configuration],
    }
    with contextlib.ExitStack() as stack:
        daemons = {}
        for name, arguments in commands.items():
            output = stack.enter_context(open(folder / f"{name}.out", "w"))
            daemons[name] = subprocess.Popen(
                [shutil.which(name, path=path), *arguments], env=environment, stdout=output, stderr=output
            )
            stack.callback(_end, daemons[name])
            if name == "munged":
                _wait(folder, daemons, lambda: (folder / "munge.socket").exists())
        try:
            _wait(folder, daemons, lambda: "idle" in _ask(environment, "sinfo", "--noheader", "--format=%T"))
            yield environment
        finally:
            # What still runs would outlive the daemons.
            _ask(environment, "scancel", "--user", str(os.geteuid()))
            with contextlib.suppress(RuntimeError):
                _wait(folder, daemons, lambda: not _ask(environment, "squeue", "--noheader"), patience=15)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in taken]


def _ask(environment: dict[str, str], *command: str) -> str:
    """What a client prints; nothing where it failed or did not end in time."""
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _wait(folder, daemons, ready, patience: float = PATIENCE) -> None:
    until = time.monotonic() + patience
    while not ready():
        ended = [name for name, daemon in daemons.items() if daemon.poll() is not None]
        if ended or time.monotonic() > until:
            logs = [f"{path.name}: {path.read_text()[-1000:]}" for path in sorted(folder.glob("*.[ol][uo][tg]"))]
            raise RuntimeError("\n".join([f"Slurm did not start; ended: {ended}", *logs]))
        time.sleep(0.2)


def _end(daemon: subprocess.Popen) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
