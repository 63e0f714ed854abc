"""What is made from the chart is what the chart makes now: after a change, run tests/chart/generate.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chart.generate import CHART, OPERATOR, ROOT, readme
from chart.render import manifests
from chart.schema import SchemaError, schema_of

if TYPE_CHECKING:
    from chart.rendered import Chart


def test_the_schema_is_that_of_the_values() -> None:
    assert (CHART / "values.schema.json").read_text() == schema_of(CHART / "values.yaml")


def test_the_readme_is_that_of_the_values(helm_docs: Path) -> None:
    assert (CHART / "README.md").read_text() == readme(helm_docs)


def test_the_manifests_are_those_of_the_chart(helm: Path) -> None:
    assert {path.name: path.read_text() for path in OPERATOR.iterdir()} == manifests(helm, CHART)


def test_lint_finds_nothing(helm: Path) -> None:
    done = subprocess.run([helm, "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout + done.stderr


def test_every_template_has_a_file_of_tests() -> None:
    templates = CHART / "templates"
    names = {path.relative_to(templates).with_suffix("") for path in templates.rglob("*.*") if path.suffix != ".tpl"}
    wanted = {str(name).lower().replace("-", "_").replace("/", "_") for name in names} - {
        "fencepolicy"
    }  # tests/fencing
    assert not wanted - {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}


def test_by_default_there_is_only_what_is_needed(chart: Chart) -> None:
    assert sorted(found["kind"] for found in chart.objects() if "annotations" not in found["metadata"]) == [
        "ClusterRole",
        "ClusterRole",
        "ClusterRoleBinding",
        "Deployment",
        "Service",
        "ServiceAccount",
    ]


def test_it_can_be_a_part_of_another_chart(chart: Chart) -> None:
    """A parent hands down ``global`` and its condition ``enabled``."""
    assert chart.objects(**{"global": {"a": 1}, "enabled": True}) == chart.objects()


def test_the_chart_is_of_the_projects_version() -> None:
    project = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version = "))
    assert f'version = "{yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]}"' == project


def test_the_client_role_of_the_manifests_is_the_charts(helm: Path) -> None:
    role = yaml.safe_load((ROOT / "manifests" / "client" / "role.yaml").read_text())
    made = yaml.safe_load(manifests(helm, CHART)["client-clusterrole.yaml"])
    assert role["rules"] == made["rules"]
    assert role["metadata"]["name"] == made["metadata"]["name"]


def test_every_default_fits_its_own_schema() -> None:
    """And every value is described; ``$ref`` apart, so is its type."""

    def check(schema: Any, path: str) -> None:
        for name, value in schema["properties"].items():
            if "properties" in value and "default" not in value:
                assert value["additionalProperties"] is False, path
                check(value, f"{path}.{name}")
            else:
                assert value["description"], f"{path}.{name}"
                assert value.keys() & {"type", "$ref"}, f"{path}.{name}"

    check(json.loads((CHART / "values.schema.json").read_text()), "")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ("a: 1\n", "a has no comment"),
        ("a:\n  b: true\n", "a.b has no comment"),
        ("# -- What.\na: []\n", "default of a does not tell"),
        ("# -- What.\na:\n", "default of a does not tell"),
        ("# @schema nothing\n# -- What.\na: 1\n", "@schema of a holds no mapping"),
        ("[]\n", "holds no mapping"),
    ],
)
def test_a_value_that_says_too_little_makes_no_schema(tmp_path: Path, values: str, sentence: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(values)
    with pytest.raises(SchemaError, match=sentence):
        schema_of(file)
