"""The node's harness: whatever becomes of it, the machine is as it was."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster import sandbox
from cluster.node import Node
from cluster.processes import ControlPlaneError, MachineError, owned_folder
from cluster.rest import Rest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.build import Binaries, NodeBinaries


def traces(folder: str, link: str) -> set[str]:
    """Name everything of one node that this machine would notice."""
    found = {path.name for path in Path("/sys/class/net").iterdir() if path.name == link}
    found |= {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if folder in line}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found |= {words for words in [path.read_text().replace("\0", " ")] if folder in words}
    found |= {str(root / folder) for root in sandbox.cgroup_roots() if (root / folder).exists()}
    return found | {str(path) for path in Path(tempfile.gettempdir()).glob(folder)}


def machine() -> set[str]:
    """Return the machine's own packet filter and kernel parameters, as far as a kubelet would change them."""
    names = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    chains = {line for line in rules.splitlines() if "KUBE-" in line or "CNI-" in line}
    return chains | {f"{name}={(Path('/proc/sys') / name).read_text()}" for name in names}


@pytest.mark.slow
def test_a_node_that_cannot_start_leaves_nothing_behind(
    binaries: Binaries,
    node_binaries: NodeBinaries,
    tmp_path: Path,
) -> None:
    before = machine()
    node = Node(binaries, node_binaries, images=(tmp_path / "missing.tar",))
    with pytest.raises(ControlPlaneError, match=r"no such file"), node:
        pass
    assert traces(node.folder.name, node.network.link) == set()
    assert machine() == before


@pytest.mark.slow
@pytest.mark.usefixtures("node_binaries", "operator_image")
def test_a_node_whose_owner_is_killed_leaves_what_the_next_start_removes() -> None:
    before = machine()
    command = [sys.executable, str(Path(__file__).parent), "up", "--node"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            kubeconfig = Path(process.stdout.readline().strip().partition("=")[2])
            address = Rest.from_kubeconfig(kubeconfig).url.split(".")[2]
            here = (kubeconfig.parent.name, sandbox.Network(int(address)).link)
            assert len(traces(*here)) > 10
            assert here[1] in traces(*here)
        finally:
            process.kill()
    node_is_dead(*here)
    for _ in until_late():
        with owned_folder(sandbox.FOLDER_PREFIX):
            sandbox.remove_cgroups_of_the_dead()
        if not traces(*here):
            break
    assert traces(*here) == set()
    assert machine() == before


def node_is_dead(folder: str, link: str) -> None:
    """Wait until the kernel has ended everything: what is left are empty cgroups and a folder."""
    harmless = ("/sys/fs/cgroup/", tempfile.gettempdir())
    left: set[str] = set()
    for _ in until_late():
        left = {trace for trace in traces(folder, link) if not trace.startswith(harmless)}
        if not left:
            return
    message = f"still there: {sorted(left)}"
    raise AssertionError(message)


def until_late() -> Iterator[None]:
    """Look again and again: the kernel takes its time to end what it was told to end."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)


def test_a_machine_without_containerd_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MachineError, match=r"containerd, .*: apt-get install .* containerd runc"):
        sandbox.check_machine()


def test_an_ordinary_user_is_told_that_a_node_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(MachineError, match=r"^a node needs root$"):
        sandbox.check_machine()
