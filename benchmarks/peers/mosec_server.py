"""The same ONNX file behind Mosec (https://mosec.dev), as its documentation shows a batching service.

It has Ganmint's session options, batch size and PNG writer, and writes no marks. PEER_ARTIFACT names the model's
folder; a request is {"seed", "index", "label"}. The wait for a full batch is the shortest that Mosec takes, so that a
lone request is not held up.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from mosec import Server, Worker

from models.artifact_files import ONNX_FILE
from models.latents import draw_latent
from models.manifest import read_manifest
from models.png import encode_png
from models.runtime.onnx import OnnxRuntime

ARTIFACT = Path(os.environ["PEER_ARTIFACT"])
MANIFEST = read_manifest(ARTIFACT)
BATCH_SIZE = MANIFEST.batch_size["cpu"]
SHORTEST_WAIT_MS = 1


class Mint(Worker):  # type: ignore[misc]
    """Latents and forward for a batch, then PNG."""

    resp_mime_type = "image/png"

    def __init__(self) -> None:
        super().__init__()
        path = ARTIFACT / ONNX_FILE
        self._runtime = OnnxRuntime(path.read_bytes(), path, MANIFEST, threads=1)

    def forward(self, data: list[dict[str, Any]]) -> list[bytes]:
        z = np.empty((len(data), MANIFEST.latents.z_dim), np.float32)
        class_weights = np.zeros((len(data), len(MANIFEST.class_names)), np.float32)
        for row, item in enumerate(data):
            z[row] = draw_latent(item["seed"], item["index"], MANIFEST.latents.z_dim)
            class_weights[row, item["label"]] = 1
        return [encode_png(image) for image in self._runtime.run(z, class_weights)]

    def serialize(self, data: bytes) -> bytes:
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(Mint, num=1, max_batch_size=BATCH_SIZE, max_wait_time=SHORTEST_WAIT_MS)
    server.run()
