"""Requests of every kind, taken or refused, each with what its response must be (for benchmarks.soak)."""

from __future__ import annotations

import base64
import io
import json
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from models import images
from models.address import Address
from models.images import EXTENSIONS
from models.manifest import Manifest
from models.sampler import Sampler

# The share of each kind of request; on average 1.3 images a request.
WEIGHTS = {
    "png": 40,
    "jpeg": 6,
    "webp": 5,
    "json": 5,
    "grid": 1,
    "zip": 3,
    "npz": 2,
    "get": 12,
    "get, not modified": 12,
    "head": 4,
    "refused": 10,
}
Headers = dict[bytes, bytes]
Pixels = NDArray[np.uint8]
Verify = Callable[[Headers, bytes], bool]


@dataclass
class Exchange:
    """A request, and what its response must be."""

    kind: str
    request: bytes
    status: int
    verify: Verify
    body: bytes | None = None

    def is_right(self, status: int, headers: Headers, body: bytes) -> bool:
        """Return whether the response is right; all later ones are compared with the first right one."""
        if self.body is None and status == self.status and self.verify(headers, body):
            self.body = body
        return status == self.status and body == self.body


def prepare(samplers: list[Sampler], size: int) -> list[Exchange]:
    """Prepare requests in the proportions of WEIGHTS, half of them for each model."""
    rng = random.Random(0)
    total = sum(WEIGHTS.values())
    pool = []
    for sampler in samplers:
        kinds = [kind for kind, weight in WEIGHTS.items() for _ in range(max(2, size // 2 * weight // total))]
        address_lists = [_addresses(kind, sampler.manifest, rng) for kind in kinds]
        # Minted together, because a full batch costs as much as one image.
        pixels = iter(sampler.mint([address for addresses in address_lists for address in addresses]))
        for kind, addresses in zip(kinds, address_lists):
            pool.append(_exchange(kind, addresses, np.stack([next(pixels) for _ in addresses]), rng))
    return pool


def _addresses(kind: str, manifest: Manifest, rng: random.Random) -> list[Address]:
    n = {"json": rng.randint(1, 8), "grid": 16, "zip": 4, "npz": 8}.get(kind, 1)
    return manifest.addresses(rng.randrange(2**53), rng.randrange(2**40), n, rng.choice([None, "balanced", 0]))


def _exchange(kind: str, addresses: list[Address], pixels: Pixels, rng: random.Random) -> Exchange:
    if kind == "refused":
        return _refused(addresses[0].model, rng)
    texts = [str(address) for address in addresses]
    files = [images.encode(image, "image/png", text) for image, text in zip(pixels, texts)]
    if kind in ("get", "get, not modified", "head"):
        extension = rng.choice(list(EXTENSIONS))
        body = images.encode(pixels[0], EXTENSIONS[extension], texts[0])
        path, _, query = texts[0].partition("?")
        url = f"/v1/images/{path}.{extension}" + (f"?{query}" if query else "")
        if kind == "get":
            return Exchange(kind, _request("GET", url), 200, lambda _, got: got == body)
        if kind == "head":
            length = str(len(body)).encode()
            right: Verify = lambda headers, got: got == b"" and headers[b"content-length"] == length  # noqa: E731
            return Exchange(kind, _request("HEAD", url), 200, right)
        return Exchange(kind, _request("GET", url, **{"If-None-Match": '"old", *'}), 304, lambda _, got: got == b"")
    first, labels = addresses[0], [address.label for address in addresses]
    ask = {"model": first.model, "seed": first.seed, "index": first.index, "n": len(addresses), "labels": labels}
    accept = {"json": "application/json", "grid": "image/png", "zip": "application/zip", "npz": "application/x-npz"}
    media = accept.get(kind, f"image/{kind}")
    checks: dict[str, Verify] = {
        "json": lambda _, got: _is_json_of(got, texts, files),
        "zip": lambda _, got: _is_zip_of(got, texts, files),
        "npz": lambda _, got: _is_npz_of(got, texts, pixels),
    }
    picture = b"" if kind in checks else images.encode_one_or_grid(pixels, cast(Any, media), texts)
    verify = checks.get(kind, lambda _, got: got == picture)
    return Exchange(kind, _request("POST", "/generate", json.dumps(ask), Accept=media), 200, verify)


def _refused(model: str, rng: random.Random) -> Exchange:
    body, status, field = rng.choice(
        [
            ('{"model": "nope"}', 404, "model"),
            (f'{{"model": "{model}", "seed": -1}}', 422, "seed"),
            (f'{{"model": "{model}", "n": 0}}', 422, "n"),
            (f'{{"model": "{model}", "n": 100000}}', 422, "n"),
            (f'{{"model": "{model}", "labels": [1, 2]}}', 422, "labels"),
            (f'{{"model": "{model}", "count": 3}}', 422, "count"),
            (f'{{"model": "{model}"', 400, None),
        ]
    )

    def verify(headers: Headers, got: bytes) -> bool:
        problem = json.loads(got)
        fields = [error["field"] for error in problem.get("errors", [])]
        return headers[b"content-type"] == b"application/problem+json" and fields == ([field] if field else [])

    return Exchange("refused", _request("POST", "/generate", body), status, verify)


def _request(method: str, path: str, body: str = "", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: soak", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", body]).encode()


def _is_json_of(got: bytes, texts: list[str], files: list[bytes]) -> bool:
    listed = json.loads(got)["images"]
    return [(i["address"], base64.b64decode(i["b64"])) for i in listed] == list(zip(texts, files))


def _is_zip_of(got: bytes, texts: list[str], files: list[bytes]) -> bool:
    with zipfile.ZipFile(io.BytesIO(got)) as archive:
        rows = [json.loads(line) for line in archive.read("metadata.jsonl").decode().splitlines()]
        return [(row["address"], archive.read(row["file_name"])) for row in rows] == list(zip(texts, files))


def _is_npz_of(got: bytes, texts: list[str], pixels: Pixels) -> bool:
    with np.load(io.BytesIO(got), allow_pickle=False) as arrays:
        return arrays["addresses"].tolist() == texts and np.array_equal(arrays["images"], pixels)
