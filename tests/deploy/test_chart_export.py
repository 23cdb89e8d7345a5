"""The chart's Jobs make a whole data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models import store

pytest.importorskip("helm_python", reason="helm-python-sdk has no wheel for this machine")

from deploy.chart import EXPORT, Values, iterate_pods, render


def read_job_arguments(values: Values) -> dict[str, list[str]]:
    """Return the arguments of each Job's container, by its name."""
    arguments = {}
    for document in render({"export": values}):
        if document["kind"] == "Job":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            arguments[container["name"]] = container["args"]
    return arguments


def test_the_arguments_of_the_jobs_make_a_whole_data_set(
    store_home: Path, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = store.install(tiny_artifact)
    out = tmp_path / "set"
    values = {
        "enabled": True,
        "model": f"tiny/{stored.version}",
        "count": 50,
        "seed": 2**53 - 1,
        "labels": 0,
        "shardSize": 20,
        "format": "npz",
        "groups": 2,
        "parallelism": 2,
        "claim": "sets",
        "out": "/data/set",
        "deadlineSeconds": 5,
    }
    arguments = read_job_arguments(values)
    for part, index in (("export", 0), ("export", 1), ("finish", 0)):
        line = [a.replace("$(JOB_COMPLETION_INDEX)", str(index)) for a in arguments[part]]
        assert line[0] == "ganmint"
        run(monkeypatch, [a.replace("/data/set", str(out)) for a in line[1:]])
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["images"], manifest["job"]["seed"], manifest["job"]["labels"]) == (50, 2**53 - 1, 0)


def run(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    from ganmint.cli import main

    monkeypatch.setattr("sys.argv", ["ganmint", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code, arguments


def test_big_numbers_are_written_out() -> None:
    arguments = read_job_arguments({**EXPORT, "index": 2**53 - 1})["export"]
    assert {"--count=100000000", f"--index={2**53 - 1}", "--shard-size=10000"} <= set(arguments)


def test_another_export_is_another_job_and_the_same_is_the_same() -> None:
    def names(export: Values) -> list[str]:
        return [d["metadata"]["name"] for d in render({"export": export}) if d["kind"] == "Job"]

    assert names(EXPORT) == names(EXPORT)
    assert not set(names(EXPORT)) & set(names({**EXPORT, "count": 2}))
    assert names(EXPORT) == names({**EXPORT, "keepSeconds": 60, "parallelism": 2, "queue": "batch"})


def test_an_export_survives_a_node_and_fails_on_wrong_usage() -> None:
    for job in (d for d in render({"export": EXPORT}) if d["kind"] == "Job"):
        ignore, fail = job["spec"]["podFailurePolicy"]["rules"]
        assert (ignore["action"], ignore["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
        name = job["spec"]["template"]["spec"]["containers"][0]["name"]
        assert (fail["action"], fail["onExitCodes"]["values"], fail["onExitCodes"]["containerName"]) == (
            "FailJob",
            [2],
            name,
        )


def test_a_group_that_fails_does_not_take_the_tries_of_the_others() -> None:
    jobs = [document["spec"] for document in render({"export": {**EXPORT, "retries": 5}}) if document["kind"] == "Job"]
    assert [(spec.get("backoffLimitPerIndex"), spec.get("backoffLimit")) for spec in jobs] == [(5, None), (None, 5)]


def test_kueue_finds_the_queue_on_both_jobs() -> None:
    label = "kueue.x-k8s.io/queue-name"
    for queue, expected in (("", None), ("batch", "batch")):
        jobs = [document for document in render({"export": {**EXPORT, "queue": queue}}) if document["kind"] == "Job"]
        assert [job["metadata"]["labels"].get(label) for job in jobs] == [expected] * 2


def test_the_pod_that_waits_holds_neither_a_core_nor_a_gpu() -> None:
    values = {"export": EXPORT, "serving": {"enabled": False}, "gpu": {"enabled": True, "nodeSelector": {"gpu": "yes"}}}
    export, finish = iterate_pods(render(values))
    assert export["nodeSelector"] == {"gpu": "yes"} and "tolerations" in export
    assert not {"nodeSelector", "tolerations"} & set(finish)
    resources = finish["containers"][0]["resources"]
    assert resources["requests"] == {"cpu": "50m", "memory": "256Mi"} and "nvidia.com/gpu" not in resources["limits"]
