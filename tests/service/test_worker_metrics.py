"""What /metrics says of models when several workers each keep a file of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Two workers load a version; then they withdraw it, or one of them does, or finds it broken.
SCRIPT = """
import os, sys
from service.metrics import Metrics, ModelMetrics

def load(metrics):
    metrics.record_loaded("tiny", "1.0.0", 64, True, "abc", "cpu", "onnx", "8")
    ModelMetrics(metrics, "tiny", "1.0.0").record_forward(3, 8, 0.1)

def act(metrics, name):
    if name == "withdraw":
        metrics.forget_model("tiny", "1.0.0")
    if name == "break":
        metrics.forget_model("tiny", "1.0.0")
        metrics.golden.labels("tiny", "1.0.0").set(0)
    if name == "reload":
        metrics.forget_model("tiny", "1.0.0")
        load(metrics)

metrics = Metrics()
own, ready, done = sys.argv[1:], os.pipe(), os.pipe()
if os.fork() == 0:
    load(metrics)
    act(metrics, sys.argv[2])
    os.write(ready[1], b"x")
    os.read(done[0], 1)
    os._exit(0)
load(metrics)
act(metrics, sys.argv[1])
os.read(ready[0], 1)
text = metrics.render().decode()
os.write(done[1], b"x")
os.wait()
print("\\n".join(line for line in text.splitlines() if "tiny" in line))
"""


def render(folder: Path, *actions: str) -> dict[str, float]:
    """Run a worker for each action; return the series of the model."""
    command = [sys.executable, "-c", SCRIPT, *actions]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    pairs = (line.rsplit(" ", 1) for line in output.splitlines() if "_bucket" not in line)
    return {series.replace('{model="tiny",version="1.0.0"}', ""): float(value) for series, value in pairs}


def test_a_version_that_all_workers_withdrew_is_no_longer_in_the_metrics(tmp_path: Path) -> None:
    series = render(tmp_path, "withdraw", "withdraw")
    assert not {"ganmint_model_golden_ok", "ganmint_model_padded", "ganmint_queue_limit_images"} & series.keys()
    assert not [name for name in series if name.startswith("ganmint_model_info")]
    # What was counted stays.
    assert series["ganmint_images_total"] == 6


def test_a_version_that_one_worker_has_loaded_is_in_the_metrics(tmp_path: Path) -> None:
    for number, action in enumerate(("keep", "reload")):
        folder = tmp_path / str(number)
        folder.mkdir()
        series = render(folder, "withdraw", action)
        assert series["ganmint_model_golden_ok"] == series["ganmint_model_padded"] == 1
        assert [value for name, value in series.items() if name.startswith("ganmint_model_info")] == [1]


def test_a_version_that_one_worker_finds_broken_is_in_the_metrics_as_broken(tmp_path: Path) -> None:
    series = render(tmp_path, "withdraw", "break")
    assert series["ganmint_model_golden_ok"] == 0
    assert "ganmint_model_padded" not in series
