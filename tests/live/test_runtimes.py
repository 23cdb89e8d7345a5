"""What a worker loads to run its models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.live.server import Server, list_workers, run_ganmint, run_server


def check_runtime(server: Server, model: str, library: str, other_library: str, is_padded: bool) -> None:
    assert server.post_generate({"model": model, "n": 9}).status_code == 200
    (worker,) = list_workers(server)
    libraries = Path(f"/proc/{worker}/maps").read_text()
    assert library in libraries
    assert other_library not in libraries
    listings = server.get("/v1/models").json()["runtimes"]
    assert {listing["padded"] for listing in listings} == {is_padded}
    for listing in listings:
        assert f"by {listing['runtime']}, " in server.log.read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU, models run by TorchScript")
def test_a_worker_loads_only_onnx_where_nothing_else_is_asked_for(digits_server: Server) -> None:
    check_runtime(digits_server, "digits", "onnxruntime", "libtorch", is_padded=False)


def test_a_worker_loads_only_torchscript_where_it_is_asked_for(home: Path, tmp_path: Path) -> None:
    with run_server(home, tmp_path / "log", GANMINT_RUNTIME="torchscript", GANMINT_DEVICE="cpu") as server:
        check_runtime(server, "tiny", "libtorch", "onnxruntime", is_padded=True)


def test_serve_refuses_a_runtime_that_cannot_be_had(home: Path) -> None:
    unknown = run_ganmint(home, "serve", GANMINT_RUNTIME="openvino")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert "GANMINT_RUNTIME" in unknown.stderr
    on_gpu = run_ganmint(home, "serve", GANMINT_RUNTIME="onnx", GANMINT_DEVICE="cuda")
    assert (on_gpu.returncode, on_gpu.stderr.count("\n")) == (2, 1)
    assert "runtime onnx runs on the CPU only" in on_gpu.stderr
