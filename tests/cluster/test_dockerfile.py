"""``operator/Dockerfile``: nothing here builds it, so it is linted and compared with the image that the node runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cluster import image

DOCKERFILE = image.ROOT / "operator" / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")


def instructions(text: str) -> list[tuple[str, str]]:
    """Return (instruction, rest of it) as a builder reads them."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    words = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in words]


@pytest.fixture(scope="module")
def stages() -> list[list[tuple[str, str]]]:
    """Split the file into what precedes the first stage, and the stages."""
    found: list[list[tuple[str, str]]] = [[]]
    for word, rest in instructions(DOCKERFILE.read_text()):
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def rest_of(stage: list[tuple[str, str]], word: str) -> list[str]:
    return [rest for name, rest in stage if name == word]


def test_hadolint_has_no_complaint() -> None:
    done = subprocess.run([HADOLINT, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_complain(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE.read_text().replace("WORKDIR /src", "WORKDIR src"))
    done = subprocess.run([HADOLINT, "--no-color", bad], capture_output=True, text=True, check=False)
    assert "DL3000" in done.stdout


def test_every_stage_starts_from_the_base_that_the_arguments_name(stages: list[list[tuple[str, str]]]) -> None:
    before, *rest = stages
    assert [name.partition("=")[0] for name in rest_of(before, "ARG")] == ["BASE", "BASE_DIGEST"]
    for stage in rest:
        assert stage[0][1].removesuffix(" AS build") == "${BASE}${BASE_DIGEST:+@${BASE_DIGEST}}"


def test_it_runs_what_the_tested_image_runs_and_as_the_same_user(stages: list[list[tuple[str, str]]]) -> None:
    last = stages[-1]
    assert rest_of(last, "USER") == [image.CONFIG["User"]]
    assert [json.loads(rest) for rest in rest_of(last, "ENTRYPOINT")] == [image.CONFIG["Entrypoint"]]
    assert rest_of(last, "EXPOSE") == list(image.CONFIG["ExposedPorts"])
    assert rest_of(last, "WORKDIR")[-1:] == [image.CONFIG["WorkingDir"]]
    settings = {word for rest in rest_of(last, "ENV") for word in rest.split() if not word.startswith("PATH=")}
    assert settings == set(image.CONFIG["Env"])


def test_it_installs_the_extras_that_the_tested_image_has(stages: list[list[tuple[str, str]]]) -> None:
    (run,) = rest_of(stages[1], "RUN")
    assert run.endswith(f'install ".[{",".join(image.EXTRAS)}]"')


def test_what_it_copies_is_enough_for_the_very_wheel_that_the_tested_image_has(
    stages: list[list[tuple[str, str]]],
    tmp_path: Path,
) -> None:
    context = tmp_path / "context"
    for rest in rest_of(stages[1], "COPY"):
        *sources, target = rest.split()
        for source in sources:
            place = context / (source if target == "./" else target)
            place.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (image.ROOT / source).is_dir() else shutil.copy
            copy(image.ROOT / source, place)
    copied = image.build_wheel(context, tmp_path / "copied")
    whole = image.build_wheel(image.ROOT, tmp_path / "whole")
    assert copied.name == whole.name
    assert copied.read_bytes() == whole.read_bytes()


def test_the_builder_is_sent_what_is_copied_and_nothing_else(stages: list[list[tuple[str, str]]]) -> None:
    rules = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {source for rest in rest_of(stages[1], "COPY") for source in rest.split()[:-1]}
    assert copied == allowed
    assert "*" in rules


def test_its_default_base_is_a_python_that_the_project_supports(stages: list[list[tuple[str, str]]]) -> None:
    base = next(rest.partition("=")[2] for rest in rest_of(stages[0], "ARG"))
    version = re.fullmatch(r"python:3\.(\d+)-slim", base)
    oldest = tomllib.loads((image.ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert version is not None
    assert int(version[1]) >= int(oldest.rpartition(".")[2])
