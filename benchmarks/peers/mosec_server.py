"""The same generator behind Mosec (https://mosec.dev), as its documentation shows a batching PNG service.

The model's folder comes from PEER_ARTIFACT; a request is {"seed", "index", "label"}.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mosec import Server, Worker
from PIL import Image

from models.latents import draw_latent
from models.manifest import read_manifest

ARTIFACT = Path(os.environ["PEER_ARTIFACT"])
CARD = read_manifest(ARTIFACT)
BATCH = CARD.batch_size["cpu"]


class Mint(Worker):
    """Latents and forward for a batch, then PNG, without provenance marks."""

    resp_mime_type = "image/png"

    def __init__(self) -> None:
        super().__init__()
        torch.set_num_threads(1)
        self._module = torch.jit.freeze(torch.jit.load(str(ARTIFACT / "generator.ts")).eval())

    def forward(self, data: list[dict[str, Any]]) -> list[bytes]:
        z = np.zeros((BATCH, CARD.latents.z_dim), np.float32)
        class_weights = np.zeros((BATCH, len(CARD.class_names)), np.float32)
        for row, item in enumerate(data):
            z[row] = draw_latent(item["seed"], item["index"], CARD.latents.z_dim)
            class_weights[row, item["label"]] = 1
        with torch.inference_mode():
            out = self._module(torch.from_numpy(z), torch.from_numpy(class_weights))
            pixels = out.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return [self._png(image) for image in pixels[: len(data)]]

    def serialize(self, data: bytes) -> bytes:
        return data

    @staticmethod
    def _png(image: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(buffer, "PNG")
        return buffer.getvalue()


if __name__ == "__main__":
    server = Server()
    server.append_worker(Mint, num=1, max_batch_size=BATCH, max_wait_time=5)
    server.run()
