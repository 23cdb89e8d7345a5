"""The manifests in deploy/examples: their schemas, and that their very commands make a whole data set."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from models import store
from tests.conftest import Command
from tests.deploy.schemas import check_schema, iterate_ray_templates
from tests.service.export.conftest import tree
from tests.service.export.ray_stub import run_ray_tasks_here

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
CONSTRAINTS = EXAMPLES.parents[1] / "constraints.txt"
FILES = ["argo-workflow.yaml", "rayjob.yaml"]
# In the place of the examples' own: more shards than pods, so that a group that is left out is missed.
TINY = {"model": "tiny/1.0.0", "count": "50", "shard-size": "2"}


def load(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def iterate_pods(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yield each pod's security context and its containers."""
    if document["kind"] == "Workflow":
        containers = [template["container"] for template in document["spec"]["templates"] if "container" in template]
        yield document["spec"]["securityContext"], containers
        return
    is_job = document["kind"] == "Job"
    for template in [document["spec"]["template"]] if is_job else iterate_ray_templates(document):
        yield template["spec"]["securityContext"], template["spec"]["containers"]


@pytest.mark.parametrize("version", ["1.30", "newest"])
@pytest.mark.parametrize("name", FILES)
def test_every_document_matches_its_schema(name: str, version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for document in load(name):
        check_schema(document, kubernetes_validate.latest_version() if version == "newest" else version)


def test_the_schemas_refuse_a_field_that_they_do_not_have() -> None:
    (workflow,) = load("argo-workflow.yaml")
    rayjob, _ = load("rayjob.yaml")
    workflow["spec"]["templates"][1]["container"]["resource"] = {}
    rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["container"] = []
    for document in (workflow, rayjob):
        with pytest.raises(Exception, match=r"resource|container|does not have"):
            check_schema(document, "1.30")


@pytest.mark.parametrize("name", FILES)
def test_pods_have_few_privileges_and_the_last_step_next_to_no_resources(name: str) -> None:
    pods = [pod for document in load(name) for pod in iterate_pods(document)]
    for security, containers in pods:
        assert security["runAsNonRoot"] is True and security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers:
            inside = container["securityContext"]
            assert inside["allowPrivilegeEscalation"] is False and inside["capabilities"] == {"drop": ["ALL"]}
    finish = pods[-1][1][-1]
    assert "finish" in finish["args"] and finish["resources"]["requests"] == {"cpu": "50m", "memory": "256Mi"}


def test_the_versions_are_those_of_this_checkout() -> None:
    rayjob, _ = load("rayjob.yaml")
    version = rayjob["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"\nray=={version}\n" in CONSTRAINTS.read_text()
    text = (EXAMPLES / "rayjob.yaml").read_text()
    assert f"FROM rayproject/ray:{version}-py311" in text
    assert f"ganmint-{metadata.version('ganmint')}-py3-none-any.whl[s3]" in text


def read_workflow(out: Path) -> list[list[str]]:
    """Return the command of each pod of the workflow, for the tiny model, in an order that it may run them in."""
    (workflow,) = load("argo-workflow.yaml")
    parameters = {p["name"]: p["value"] for p in workflow["spec"]["arguments"]["parameters"]}
    assert re.fullmatch(r"digits/\d+\.\d+\.\d+", parameters["model"])
    values = {f"workflow.parameters.{k}": v for k, v in (parameters | TINY | {"out": str(out)}).items()}
    dag, *templates = workflow["spec"]["templates"]
    containers = {template["name"]: template["container"] for template in templates}
    export, finish = dag["dag"]["tasks"]
    assert finish["dependencies"] == [export["name"]]
    num_groups = int(fill(export["withSequence"]["count"], values))
    commands = [(export["template"], str(k)) for k in reversed(range(num_groups))] + [(finish["template"], "")]
    return [
        [
            fill(word, {**values, "inputs.parameters.index": index})
            for word in (*containers[name]["command"], *containers[name]["args"])
        ]
        for name, index in commands
    ]


def fill(text: str, values: dict[str, str]) -> str:
    """Put values into {{names}}, as Argo does."""
    return re.sub(r"\{\{(.+?)\}\}", lambda match: values[match[1]], text)


def read_rayjob(out: Path) -> list[list[str]]:
    """Return the RayJob's command and the Job's, for the tiny model."""
    rayjob, finish = load("rayjob.yaml")
    (container,) = finish["spec"]["template"]["spec"]["containers"]
    entrypoint = shlex.split(rayjob["spec"]["entrypoint"])
    assert re.fullmatch(r"digits/\d+\.\d+\.\d+", entrypoint[2])
    (url,) = [word.removeprefix("--out=") for word in entrypoint if word.startswith("--out=")]
    (count,) = [word for word in entrypoint if word.startswith("--count=")]
    assert {url, count} <= set(container["args"])
    changes = {
        entrypoint[2]: TINY["model"],
        count: f"--count={TINY['count']}",
        "--shard-size=10000": f"--shard-size={TINY['shard-size']}",
    }
    return [
        [changes.get(word, word).replace(url, str(out)) for word in line] for line in (entrypoint, container["args"])
    ]


def make_in_one_process(command: Command, line: list[str], out: Path, folder: Path) -> dict[str, bytes]:
    """Run the command of an example without what shares it out; returns the data set's files."""
    alone = [word for word in line[1:] if not word.startswith(("--shard=", "--engine="))]
    assert command(*[word.replace(str(out), str(folder)) for word in alone]).code == 0
    return tree(folder)


@pytest.mark.parametrize("read_commands", [read_workflow, read_rayjob])
def test_the_commands_make_what_one_process_makes(
    read_commands: Callable[[Path], list[list[str]]],
    store_home: Path,
    tiny_artifact: Path,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store.install(tiny_artifact)
    out = tmp_path / "shared-out"
    lines = read_commands(out)
    with monkeypatch.context() as patch:
        if "--engine=ray" in lines[0]:
            run_ray_tasks_here(tmp_path, patch)
        for line in lines:
            assert line[0] == "ganmint" and command(*line[1:]).code == 0
    files = tree(out)
    assert "manifest.json" in files and files == make_in_one_process(command, lines[0], out, tmp_path / "alone")
