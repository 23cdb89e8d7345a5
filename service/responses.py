"""The forms of an answer: JSON, one picture, zip, npz.

Knows: how finished images become the body and headers of an answer; zip and npz are written while
images are still being minted, with no timestamps, and not for ever. Does not know: routes, queues, models.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import zipfile
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import numpy as np
from fastapi.responses import StreamingResponse
from starlette.types import Message, Send

from models.address import Address
from models.manifest import Manifest
from service.batcher import PendingRequest
from service.npz import EPOCH, images_header, write_arrays

log = logging.getLogger("ganmint.service")
ZIP, NPZ = "application/zip", "application/x-npz"
HEADERS = (
    "Ganmint-Address",
    "Ganmint-Model",
    "Ganmint-Seed",
    "Ganmint-Index",
    "Ganmint-Count",
    "Ganmint-Psi",
    "Ganmint-Labels",
)


def json_body(card: Manifest, addresses: Sequence[Address], files: Sequence[bytes]) -> bytes:
    """schemas.GenerateResponse with PNG files."""
    listed = [
        {**_row(card, address), "media_type": "image/png", "b64": base64.b64encode(file).decode()}
        for address, file in zip(addresses, files)
    ]
    answer = {"model": card.name, "version": card.version, "seed": addresses[0].seed, "images": listed}
    return json.dumps(answer, separators=(",", ":")).encode()


def address_headers(addresses: Sequence[Address]) -> dict[str, str]:
    """What makes the answer again: its address, or for several the parts that they share."""
    first = addresses[0]
    if len(addresses) == 1:
        return {"Ganmint-Address": str(first), "Ganmint-Seed": str(first.seed)}
    headers = {
        "Ganmint-Model": f"{first.model}/{first.version}",
        "Ganmint-Seed": str(first.seed),
        "Ganmint-Index": str(first.index),
        "Ganmint-Count": str(len(addresses)),
        "Ganmint-Psi": repr(first.psi),
    }
    if first.label is not None:
        headers["Ganmint-Labels"] = ",".join(str(address.label) for address in addresses)
    return headers


async def zip_stream(card: Manifest, job: PendingRequest) -> AsyncIterator[bytes]:
    """metadata.jsonl, as Hugging Face's imagefolder reads it, then one PNG per image."""
    rows = [{"file_name": f"{a.index}.png", **_row(card, a)} for a in job.addresses]
    sink = ZipBuffer()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(_entry("metadata.jsonl"), "".join(json.dumps(row) + "\n" for row in rows))
        position = 0
        async for file in job.in_order():
            archive.writestr(_entry(f"{job.addresses[position].index}.png"), bytes(file))
            position += 1
            yield sink.take()
    yield sink.take()


async def npz_stream(card: Manifest, job: PendingRequest) -> AsyncIterator[bytes]:
    """images uint8 (n, H, W, C), labels int64 (n,), addresses and label_names as text."""
    shape = card.image
    sink = ZipBuffer()
    with zipfile.ZipFile(sink, "w") as archive:
        write_arrays(archive, card, job.addresses)
        with archive.open(_entry("images.npy"), "w") as entry:
            entry.write(images_header((len(job.addresses), shape.height, shape.width, shape.channels)))
            async for pixels in job.in_order():
                assert isinstance(pixels, np.ndarray)
                entry.write(pixels.tobytes())
                if sink.size >= 65536:
                    yield sink.take()
    yield sink.take()


class TimeoutStreamingResponse(StreamingResponse):
    """A stream that is cut off when the caller takes nothing of it for `patience_s`.

    Else its images would be kept for as long as the caller likes.
    """

    def __init__(self, chunks: AsyncIterator[bytes], patience_s: float, **arguments: Any) -> None:
        super().__init__(chunks, **arguments)
        self._patience_s = patience_s

    async def stream_response(self, send: Send) -> None:
        async def within_patience(message: Message) -> None:
            with anyio.fail_after(self._patience_s):
                await send(message)

        try:
            await super().stream_response(within_patience)
        except TimeoutError:
            log.warning("a caller took nothing of an archive for %g s: cut off", self._patience_s)


def _row(card: Manifest, address: Address) -> dict[str, Any]:
    return {
        "address": str(address),
        "index": address.index,
        "label": address.label,
        "label_name": card.label_name(address.label),
        "psi": address.psi,
    }


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, EPOCH)


class ZipBuffer(io.RawIOBase):
    """What the archive writes, until it is taken; not seekable, so nothing is patched afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer = bytearray()

    @property
    def size(self) -> int:
        return len(self._buffer)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._buffer += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken
