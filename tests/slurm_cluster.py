"""A real Slurm on this machine: munged, slurmctld, and two slurmd, each a node of one core; needs root."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from ports import free_port

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=15
MinJobAge=5
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
MaxNodeCount=4
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 State=UNKNOWN
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 State=UNKNOWN
PartitionName=tests Nodes=one,two Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """Its daemons by name, and the environment of a person of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.daemons = folder, {}
        self.configuration = folder / "slurm.conf"
        self.environment = {"SLURM_CONF": str(self.configuration)}

    def start(self, name: str, *command: str) -> None:
        log = (self.folder / f"{name}.out").open("ab")
        self.daemons[name] = subprocess.Popen(
            command, env=os.environ | self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def start_controller(self) -> None:
        self.start("slurmctld", "slurmctld", "-D", "-f", str(self.configuration))

    def saved_at(self) -> float:
        """When the controller has last written down which jobs there are."""
        path = self.folder / "state" / "job_state"
        return path.stat().st_mtime if path.exists() else 0.0

    def kill_controller(self) -> None:
        controller = self.daemons.pop("slurmctld")
        controller.kill()
        controller.wait()

    def start_node(self, name: str) -> None:
        self.start(name, "slurmd", "-D", "-N", name, "-f", str(self.configuration))

    def kill_node(self, name: str) -> None:
        """The machine is gone, with all that it does, before it can say so: first what would, then the jobs."""
        jobs = self.asked("squeue", "--noheader", f"--nodelist={name}", "--format=%A").split()
        self.daemons.pop(name).kill()
        working = [process for process in psutil.process_iter() if job_of(process) in jobs]
        steps = [above for process in working for above in process.parents() if above.name() == "slurmstepd"]
        for process in steps + working:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def delayed(self) -> list[str]:
        """Jobs that Slurm begins again, but not yet."""
        waiting = [line.split() for line in self.asked("squeue", "--noheader", "--format=%A %r").splitlines()]
        return [job for job, reason in waiting if reason == "BeginTime"]

    def asked(self, *command: str) -> str:
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        return done.stdout


@contextmanager
def running(folder: Path):
    """The cluster, once both nodes are free; its end."""
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    for name in ("one", "two"):
        (folder / f"spool-{name}").mkdir()
    cluster = Cluster(folder)
    values = {
        "host": socket.gethostname().partition(".")[0],
        "folder": folder,
        "ports": [free_port() for _ in range(3)],
    }
    cluster.configuration.write_text(CONFIGURATION.format(**values))
    try:
        cluster.start(
            "munged", "munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}",
            f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed",
        )  # fmt: skip
        until = time.monotonic() + 300
        while not (folder / "munge.socket").exists():
            assert time.monotonic() < until
            time.sleep(0.1)
        cluster.start_controller()
        for name in ("one", "two"):
            cluster.start_node(name)
        while cluster.asked("sinfo", "--noheader", "--Node", "--format=%T").split() != ["idle", "idle"]:
            assert time.monotonic() < until, "\n".join(
                f"{path.name}: {path.read_text(errors='replace')[-2000:]}"
                for path in folder.glob("*.*")
                if path.is_file()
            )
            time.sleep(0.5)
        yield cluster
    finally:
        cluster.asked("scancel", "--me")
        for daemon in reversed(cluster.daemons.values()):
            daemon.terminate()
        for daemon in cluster.daemons.values():
            daemon.wait(timeout=120)


def job_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("SLURM_JOB_ID")
    except psutil.Error:
        return None


def missing() -> list[str]:
    """What this machine lacks for it."""
    return [name for name in PROGRAMS if shutil.which(name) is None] + (["root"] if os.getuid() else [])
