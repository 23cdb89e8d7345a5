"""What a worker loads to run its models."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.server import list_workers, run_ganmint, run_server


@pytest.mark.parametrize(
    ("runtime", "library", "other_library"),
    [("auto", "onnxruntime", "libtorch"), ("torchscript", "libtorch", "onnxruntime")],
)
def test_a_worker_loads_one_runtime(runtime: str, library: str, other_library: str, home: Path, tmp_path: Path) -> None:
    with run_server(home, tmp_path / "log", GANMINT_RUNTIME=runtime, GANMINT_DEVICE="cpu") as server:
        assert server.post_generate({"model": "tiny", "n": 9}).status_code == 200
        (worker,) = list_workers(server)
        libraries = Path(f"/proc/{worker}/maps").read_text()
        assert library in libraries
        assert other_library not in libraries
        (listing,) = server.get("/v1/models").json()["runtimes"]
        assert listing["padded"] == (runtime == "torchscript")
        assert f"by {listing['runtime']}, " in server.log.read_text()


def test_serve_refuses_a_runtime_that_cannot_be_had(home: Path) -> None:
    unknown = run_ganmint(home, "serve", GANMINT_RUNTIME="openvino")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert "GANMINT_RUNTIME" in unknown.stderr
    on_gpu = run_ganmint(home, "serve", GANMINT_RUNTIME="onnx", GANMINT_DEVICE="cuda")
    assert (on_gpu.returncode, on_gpu.stderr.count("\n")) == (2, 1)
    assert "runtime onnx runs on the CPU only" in on_gpu.stderr
