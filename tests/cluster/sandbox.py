"""Where a node lives: Linux namespaces of its own, so that the kernel takes away all of it when it ends.

A node mounts volumes, writes a thousand iptables rules, makes bridges and sets kernel parameters. All this happens
in a mount, a network and a process namespace whose first process is ours and dies with us: whatever becomes of the
test run, no process, mount, rule or device outlives it, and two nodes on one machine do not see each other. Folders
that programs insist upon (``/var/lib/cni``, …) are overlaid, and the kernel parameters that belong to no namespace
are hidden behind files. What remains of a killed run are empty cgroups and a temporary folder; the next start
removes both.

The network is one /24 for each node: a link of two addresses between the machine and the node, and the pods'
bridge behind it. The machine reaches every pod; the pods reach the machine, and with it the API server.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster.processes import ControlPlaneError, MachineError, Process

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER_PREFIX: Final = "tasklock-node-"
PACKAGES: Final = "containerd runc containernetworking-plugins iptables iproute2"
PROGRAMS: Final = ("containerd", "ctr", "runc", "iptables", "ip", "unshare", "nsenter")
PLUGIN_FOLDERS: Final = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
PLUGINS: Final = ("bridge", "host-local", "loopback", "portmap")
_END_SECONDS: Final = 10.0

# The first arguments are the node's folder and what is to be process 1. Each line leaves the machine as it is.
_SET_UP: Final = """
set -e
mount -t tmpfs tmpfs "$1/written"
for folder in run opt var/lib var/log; do
  mkdir -p "$1/written/$folder" "$1/written/work/$folder"
  mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$1/written/$folder,workdir=$1/written/work/$folder" "/$folder"
done
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  mkdir -p "$1/written/sysctl/${name%/*}"
  cat "/proc/sys/$name" > "$1/written/sysctl/$name"
  mount --bind "$1/written/sysctl/$name" "/proc/sys/$name"
done
echo 1 > /proc/sys/net/ipv4/ip_forward
: > "$1/ready"
exec "$2"
"""


def check_machine() -> None:
    """Raise `MachineError` where no node can run."""
    if sys.platform != "linux":
        message = "a node needs Linux"
    elif os.geteuid() != 0:
        message = "a node needs root"
    elif missing := [name for name in PROGRAMS if shutil.which(name) is None] + _missing_plugins():
        message = f"a node needs {', '.join(missing)}: apt-get install -y --no-install-recommends {PACKAGES}"
    elif subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], check=False).returncode != 0:
        message = "a node needs to be allowed to make namespaces (CAP_SYS_ADMIN)"
    elif not all(os.access(root, os.W_OK) for root in cgroup_roots()):
        message = "a node needs to be allowed to make cgroups"
    else:
        return
    raise MachineError(message)


def plugin_folder() -> Path:
    """Return the folder with the programs that connect pods to the bridge."""
    return next((folder for folder in PLUGIN_FOLDERS if (folder / "bridge").exists()), PLUGIN_FOLDERS[0])


def _missing_plugins() -> list[str]:
    return [f"the CNI plugin {name}" for name in PLUGINS if not (plugin_folder() / name).exists()]


def cgroup_roots() -> list[Path]:
    """Return where the cgroup hierarchies are mounted: one of version 2, several of version 1, or both."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(where) for where, kind in mounts if kind in {"cgroup", "cgroup2"}]


@dataclass(frozen=True)
class Network:
    """The addresses of one node."""

    number: int

    @classmethod
    def free(cls) -> Network:
        """Choose a number that no other node of this machine uses now."""
        used = {path.name for path in Path("/sys/class/net").iterdir()}
        numbers = [number for number in range(256) if cls(number).link not in used]
        if not numbers:
            message = "no free network for a node"
            raise MachineError(message)
        return cls(random.choice(numbers))

    @property
    def link(self) -> str:
        return f"tasklock{self.number}"

    @property
    def machine(self) -> str:
        return f"10.87.{self.number}.1"

    @property
    def node(self) -> str:
        return f"10.87.{self.number}.2"

    @property
    def bridge(self) -> str:
        return f"10.87.{self.number}.129"

    @property
    def pods(self) -> str:
        return f"10.87.{self.number}.128/25"


class Sandbox:
    """The namespaces and cgroups of one node, in its folder; the folder's name is the cgroups' name, too."""

    def __init__(self, folder: Path, network: Network, init: Path) -> None:
        self.folder = folder
        self.network = network
        self._init = init
        self._unshare: Process | None = None
        self._first = 0
        self._handle = -1

    def start(self) -> None:
        remove_cgroups_of_the_dead()
        for path in self._cgroups():
            path.mkdir()
            _open_to_children(path)
        (self.folder / "written").mkdir()
        self._unshare = Process(
            "sandbox",
            self.folder / "sandbox.log",
            Path(shutil.which("unshare") or "unshare"),
            *("--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"),
            *("/bin/sh", "-c", _SET_UP, "sh", str(self.folder), str(self._init)),
        )
        self._unshare.wait_until((self.folder / "ready").exists)
        (self._first,) = children(self._unshare.pid)
        self._handle = os.pidfd_open(self._first)
        self._connect()

    def stop(self) -> None:
        """Kill everything in the namespaces, with which they vanish, and remove the cgroups."""
        if self._handle >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            select.select([self._handle], [], [], _END_SECONDS)  # readable once all of them have ended
            os.close(self._handle)
            self._handle = -1
        if self._unshare is not None:
            self._unshare.end(signal.SIGKILL)
            self._unshare = None
        subprocess.run(["ip", "link", "delete", self.network.link], capture_output=True, check=False)
        for path in self._cgroups():
            _remove_cgroup(path, _END_SECONDS)

    def inside(self, program: str | Path, *args: str) -> tuple[str, ...]:
        """Return the command that runs a program inside."""
        return ("nsenter", f"--target={self._first}", "--mount", "--net", "--pid", "--", str(program), *args)

    def processes(self, container: str) -> list[int]:
        """Return the processes of a container, by its id, as the machine numbers them."""
        for path, processes in self._pods():
            if path.name == container:
                return processes
        return []

    def containers(self, pod_uid: str) -> set[str]:
        """Return the ids of a pod's containers that have processes now, its sandbox's among them."""
        return {path.name for path, processes in self._pods() if processes and path.parent.name == f"pod{pod_uid}"}

    def _pods(self) -> Iterator[tuple[Path, list[int]]]:
        """Give each cgroup with its processes; any may end while we look, for which `Path.glob` has no patience."""
        for folder, _, _ in os.walk(next(self._cgroups())):
            with suppress(OSError):
                yield Path(folder), [int(line) for line in Path(folder, "cgroup.procs").read_text().split()]

    def _connect(self) -> None:
        net = self.network
        _run("ip", "link", "add", net.link, "type", "veth", "peer", "name", "eth0", "netns", str(self._first))
        _run("ip", "addr", "add", f"{net.machine}/30", "dev", net.link)
        _run("ip", "link", "set", net.link, "up")
        steps = (
            "ip link set lo up",
            f"ip addr add {net.node}/30 dev eth0",
            "ip link set eth0 up",
            f"ip route add default via {net.machine}",
            "ip link add pods type bridge",
            f"ip addr add {net.bridge}/25 dev pods",
            "ip link set pods up",
        )
        _run(*self.inside("/bin/sh", "-ec", "\n".join(steps)))
        _run("ip", "route", "add", net.pods, "via", net.node)

    def _cgroups(self) -> Iterator[Path]:
        for root in cgroup_roots():
            yield root / self.folder.name


def children(pid: int) -> list[int]:
    """Return the children of a process that has one thread."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        message = f"{' '.join(command)}: {done.stderr.strip()}"
        raise ControlPlaneError(message)


def _open_to_children(path: Path) -> None:
    """Hand the parent's processors and controllers down, which a new cgroup does not have by itself."""
    for name in ("cpuset.mems", "cpuset.cpus"):
        if (path / name).exists() and (path.parent / "cgroup.clone_children").exists():
            (path / name).write_text((path.parent / name).read_text())
    for parent in (path.parent, path):
        if (parent / "cgroup.subtree_control").exists():
            available = (parent / "cgroup.controllers").read_text().split()
            with suppress(OSError):  # the kubelet says which one it misses
                (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in available))


def remove_cgroups_of_the_dead() -> None:
    """Remove the cgroups of nodes whose folder is gone."""
    for root in cgroup_roots():
        for path in root.glob(f"{FOLDER_PREFIX}*"):
            if not (Path(tempfile.gettempdir()) / path.name).exists():
                _remove_cgroup(path, 0)


def _remove_cgroup(path: Path, seconds: float) -> None:
    """Remove a cgroup and all below it, once the kernel has buried their processes."""
    deadline = time.monotonic() + seconds
    while path.exists():
        for folder, _, _ in os.walk(path, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)
