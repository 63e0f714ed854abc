"""The operator's image for the node: what ``operator/Dockerfile`` builds, made of Debian's Python instead.

Two layers. The lower one is Debian's Python with the wheels that the project depends on; it is built once and kept
outside the tree, named by what goes into it. The upper one is the project's own wheel: seconds after a change of
the code. Both are byte-compiled, as images are that ``pip`` installs into.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any, Final

from cluster.build import BuildError, cache_folder, one_at_a_time, say
from cluster.oci import Layer, write_image
from cluster.processes import MachineError

ROOT: Final = Path(__file__).resolve().parents[2]
NAME: Final = "localhost/tasklock-operator:test"
EXTRAS: Final = ("cli", "operator")
USER: Final = 65532
CONFIG: Final[dict[str, Any]] = {
    "User": f"{USER}:{USER}",
    "WorkingDir": "/",
    "Entrypoint": ["python3", "-m", "tasklock_operator"],
    "Env": ["PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"],
    "ExposedPorts": {"8080/tcp": {}},
}
PYTHON: Final = "3.11"  # Debian 12's
DEBIAN: Final = (
    *(f"python{PYTHON}-minimal", f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib"),
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libssl3", "libffi8", "libbz2-1.0", "liblzma5"),
    *("libsqlite3-0", "libuuid1", "libreadline8", "libncursesw6", "libtinfo6", "libcrypt1", "libdb5.3"),
    *("busybox-static", "netbase"),
)
COMMANDS: Final = (
    *("cat", "date", "df", "echo", "env", "grep", "id", "kill", "ls"),
    *("mount", "ps", "sh", "sleep", "test", "true", "wget"),
)
SITE: Final = "usr/lib/python3/dist-packages"
_UNUSED: Final = ("doc", "man", "locale", "lintian")
_FORMAT: Final = "1"  # to be raised with every change of this file that changes a layer
_TOOLS: Final = ("apt-get", "chroot", "dpkg-deb", "tar")
_FORGET_SECONDS: Final = 4 * 3600.0
_FORGET_LOWER_SECONDS: Final = 7 * 24 * 3600.0


def ensure_operator_image() -> Path:
    """Return the archive of `NAME` as the tree is now, building what is missing.

    Raises:
        MachineError: there is no root, or this is no Debian.
        BuildError: a package could not be had, or an installation failed.

    """
    requirements = _requirements()
    lower_key = _key(_FORMAT, *DEBIAN, *COMMANDS, requirements)
    archive = cache_folder() / "images" / f"operator-{_key(lower_key, json.dumps(CONFIG), _source_digest())}.tar"
    if archive.exists():
        return archive
    with one_at_a_time("image"):
        if archive.exists():  # built by the run we waited for
            return archive
        lower = _ensure_lower(archive.with_name(f"python-{lower_key}"), requirements)
        start = time.monotonic()
        with tempfile.TemporaryDirectory(dir=lower / "root" / "tmp") as work:
            upper = build_upper(Path(work), lower / "root")
            write_image(Path(work) / "image.tar", NAME, [Layer.at(lower / "layer.tar"), upper], CONFIG)
            _forget(archive.parent)
            Path(work, "image.tar").replace(archive)
        say(f"built {NAME} in {time.monotonic() - start:.1f} s ({archive.stat().st_size / 1e6:.0f} MB)")
    return archive


def _ensure_lower(target: Path, requirements: str) -> Path:
    """Return the folder with the lower layer and its files, which compile the upper layer's."""
    if os.geteuid() != 0:
        message = "an image's files belong to root: building it needs root"
        raise MachineError(message)
    if missing := [name for name in _TOOLS if shutil.which(name) is None]:
        message = f"an image is made of Debian's packages: building it needs {', '.join(missing)}"
        raise MachineError(message)
    if target.exists():
        os.utime(target)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    say(f"building the image's lower layer, Debian's Python and wheels (once; kept in {target})")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        unfinished = Path(work) / "lower"
        unfinished.mkdir()
        build_lower(unfinished, requirements)
        unfinished.rename(target)
    say(f"built the image's lower layer in {time.monotonic() - start:.0f} s")
    return target


def build_lower(folder: Path, requirements: str) -> Layer:
    """Unpack Debian's packages and install the requirements, neither with any script of theirs."""
    root = folder / "root"
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "tmp", "proc", "sys", "dev", "run", "var"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "tmp").chmod(0o1777)
    for package in _download_packages(folder / "debian"):
        _unpack_package(package, root)
    for name in COMMANDS:
        if not (root / "usr/bin" / name).exists():
            (root / "usr/bin" / name).symlink_to("busybox")
    (root / "usr/bin/python3").symlink_to(f"python{PYTHON}")
    (root / "usr/bin/python").symlink_to("python3")
    _write_accounts(root / "etc")
    _install(root / SITE, folder, requirements)
    _compile(root, Path(f"/usr/lib/python{PYTHON}"), Path("/", SITE))
    shutil.rmtree(folder / "debian")
    return Layer.of_folder(root, folder / "layer.tar")


def build_upper(work: Path, lower_root: Path) -> Layer:
    """Build the project's wheel and unpack it where the lower layer's Python looks; ``work`` lies in its ``/tmp``."""
    wheel = build_wheel(ROOT, work)
    root = work / "root"
    site = root / SITE
    site.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    (points,) = site.glob("*.dist-info/entry_points.txt")
    scripts = configparser.ConfigParser()
    scripts.read(points)
    (root / "usr/bin").mkdir(parents=True)
    for name, target in scripts["console_scripts"].items():
        module, _, function = target.partition(":")
        path = root / "usr/bin" / name
        path.write_text(f"#!/usr/bin/python3\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        path.chmod(0o755)
    _compile(lower_root, Path("/", site.relative_to(lower_root)), shown=Path("/", SITE))
    return Layer.of_folder(root, work / "upper.tar")


def build_wheel(tree: Path, folder: Path) -> Path:
    """Build the project's wheel from a tree."""
    _run(*_uv(), "build", "--quiet", "--wheel", f"--out-dir={folder}", str(tree))
    (wheel,) = folder.glob("*.whl")
    return wheel


def _compile(python_root: Path, *folders: Path, shown: Path | None = None) -> None:
    """Byte-compile with the image's own Python: a read-only root cannot do it later.

    The bytes depend on the sources and on nothing else; ``shown`` is the folder that tracebacks name.
    """
    mode = "py_compile.PycInvalidationMode.UNCHECKED_HASH"
    lines = ["import compileall, py_compile, sys"]
    lines += [
        f"if not compileall.compile_dir({str(one)!r}, ddir={str(shown or one)!r}, quiet=1, invalidation_mode={mode}):"
        f" sys.exit('cannot compile {one}')"
        for one in folders
    ]
    python = ("chroot", str(python_root), f"/usr/bin/python{PYTHON}", "-I", "-c", "\n".join(lines))
    _run(*python, environment={"PYTHONHASHSEED": "0"})


def _download_packages(folder: Path) -> list[Path]:
    folder.mkdir()
    try:
        _run("apt-get", "--quiet", "download", *DEBIAN, cwd=folder)
    except BuildError as error:
        reason = str(error).splitlines()[-1]
        message = f"an image needs Debian 12's Python {PYTHON}, and apt-get (after an update?) has it not: {reason}"
        raise MachineError(message) from None
    return sorted(folder.glob("*.deb"))


def _unpack_package(package: Path, root: Path) -> None:
    excluded = [f"--exclude=./usr/share/{name}/*" for name in _UNUSED]
    unpack = ["tar", "--extract", "--keep-directory-symlink", f"--directory={root}", *excluded]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as content:
        done = subprocess.run(unpack, stdin=content.stdout, capture_output=True, text=True, check=False)
    if done.returncode != 0 or content.returncode != 0:
        message = f"{package.name} cannot be unpacked: {done.stderr.strip()}"
        raise BuildError(message)


def _write_accounts(etc: Path) -> None:
    (etc / "passwd").write_text(
        f"root:x:0:0:root:/root:/bin/sh\nnonroot:x:{USER}:{USER}:nonroot:/:/bin/false\n",
    )
    (etc / "group").write_text(f"root:x:0:\nnonroot:x:{USER}:\n")
    (etc / "nsswitch.conf").write_text("hosts: files dns\n")


def _install(site: Path, work: Path, requirements: str) -> None:
    wanted = work / "requirements.txt"
    wanted.write_text(requirements)
    _run(
        *(*_uv(), "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--link-mode=copy"),
        *(f"--python-version={PYTHON}", f"--target={site}", f"--requirement={wanted}"),
    )
    shutil.rmtree(site / "bin", ignore_errors=True)  # scripts for this machine's Python
    (site / ".lock").unlink(missing_ok=True)


def _requirements() -> str:
    """Return what the project's extras need besides the project, in exact versions with hashes."""
    extras = [f"--extra={extra}" for extra in EXTRAS]
    plain = ("--no-dev", "--no-emit-project", "--no-header", "--no-annotate")
    return _run(*_uv(), "export", "--quiet", *plain, *extras, cwd=ROOT)


def _source_digest() -> str:
    """Return a digest of all that the wheel is made of."""
    digest = hashlib.sha256()
    folders = (ROOT / "tasklock", ROOT / "operator" / "tasklock_operator")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    for path in sorted([*files, ROOT / "pyproject.toml", ROOT / "README.md", ROOT / "LICENSE"]):
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _forget(folder: Path) -> None:
    """Remove what no run of the last hours, or for lower layers of the last days, was built with."""
    for old in folder.glob("operator-*.tar"):
        if time.time() - old.stat().st_mtime > _FORGET_SECONDS:
            old.unlink(missing_ok=True)
    for old in folder.glob("python-*"):
        if time.time() - old.stat().st_mtime > _FORGET_LOWER_SECONDS:
            shutil.rmtree(old, ignore_errors=True)


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _uv() -> tuple[str, ...]:
    found = os.environ.get("UV") or shutil.which("uv")
    return (found,) if found else (sys.executable, "-m", "uv")


def _run(*command: str, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    settled = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"} | (environment or {})
    done = subprocess.run(command, cwd=cwd, env=settled, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        message = f"{' '.join(command[:4])} …: {done.stderr.strip()}"
        raise BuildError(message)
    return done.stdout
