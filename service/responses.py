"""Writes response bodies and headers: JSON, zip, npz.

Zip and npz are streamed while their images are minted. They carry no timestamps, so that equal images give equal
bytes.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import zipfile
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import anyio
import numpy as np
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from models.address import Address
from models.manifest import Manifest
from service.errors import ClientGoneError, SlowReaderError, note_cut
from service.npz import EPOCH, make_images_header, write_arrays
from service.pending_request import PendingRequest

ZIP = "application/zip"
NPZ = "application/x-npz"
# A stream of pixels is sent in pieces of at least this size.
STREAM_CHUNK_BYTES = 65536
HEADERS = (
    "Ganmint-Address",
    "Ganmint-Model",
    "Ganmint-Seed",
    "Ganmint-Index",
    "Ganmint-Count",
    "Ganmint-Psi",
    "Ganmint-Labels",
)


def encode_json(manifest: Manifest, addresses: Sequence[Address], files: Sequence[bytes]) -> bytes:
    """Encode a schemas.GenerateResponse of PNG files."""
    images = [
        {**description, "media_type": "image/png", "b64": base64.b64encode(file).decode()}
        for description, file in zip(_describe_images(manifest, addresses), files)
    ]
    seed = addresses[0].seed if addresses[0].start else None
    body = {"model": manifest.name, "version": manifest.version, "seed": seed, "images": images}
    return json.dumps(body, separators=(",", ":")).encode()


def make_address_headers(addresses: Sequence[Address]) -> dict[str, str]:
    """Make the headers that reproduce a response: its address, or the parts that several addresses share."""
    first = addresses[0]
    # Without a seed, only the single addresses tell.
    headers = {"Ganmint-Seed": str(first.seed)} if first.start else {}
    if len(addresses) == 1:
        return {"Ganmint-Address": str(first), **headers}
    headers |= {"Ganmint-Index": str(first.index)} if first.start else {}
    headers |= {
        "Ganmint-Model": f"{first.model}/{first.version}",
        "Ganmint-Count": str(len(addresses)),
        "Ganmint-Psi": repr(first.psi),
    }
    if first.label is not None:
        headers["Ganmint-Labels"] = ",".join(str(address.label) for address in addresses)
    return headers


async def stream_zip(manifest: Manifest, pending: PendingRequest) -> AsyncGenerator[bytes]:
    """Write metadata.jsonl, as Hugging Face's imagefolder reads it, then one PNG per image."""
    rows = [{"file_name": f"{d['index']}.png", **d} for d in _describe_images(manifest, pending.addresses)]
    buffer = ZipBuffer()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(_make_entry("metadata.jsonl"), "".join(json.dumps(row) + "\n" for row in rows))
        position = 0
        async for file in pending.iterate_in_order():
            archive.writestr(_make_entry(rows[position]["file_name"]), bytes(file))
            position += 1
            yield buffer.take()
    yield buffer.take()


async def stream_npz(manifest: Manifest, pending: PendingRequest) -> AsyncGenerator[bytes]:
    """Write labels, addresses and label_names (see service.npz), then images, uint8 (n, H, W, C)."""
    shape = manifest.image
    buffer = ZipBuffer()
    with zipfile.ZipFile(buffer, "w") as archive:
        write_arrays(archive, manifest, pending.addresses)
        with archive.open(_make_entry("images.npy"), "w") as entry:
            entry.write(make_images_header((len(pending.addresses), shape.height, shape.width, shape.channels)))
            async for pixels in pending.iterate_in_order():
                assert isinstance(pixels, np.ndarray)
                entry.write(pixels.tobytes())
                if buffer.size >= STREAM_CHUNK_BYTES:
                    yield buffer.take()
    yield buffer.take()


class ArchiveResponse(StreamingResponse):
    """A stream that is cut off when its images are not made, or when the client reads nothing for `send_timeout_s`.

    Otherwise a client that stops reading would keep the images in memory. The status has been sent by then, so the
    cut alone tells the client; metrics and the log have the reason.
    """

    def __init__(self, chunks: AsyncGenerator[bytes], send_timeout_s: float, **arguments: Any) -> None:
        super().__init__(chunks, **arguments)
        self._chunks = chunks
        self._send_timeout_s = send_timeout_s
        self._is_whole = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Starlette ends the stream without an error when the client disconnects.
        cut: Exception = ClientGoneError("the client disconnected")
        try:
            # Closed here and not by the garbage collector, which may take the buffer before the archive.
            async with contextlib.aclosing(self._chunks):
                await super().__call__(scope, receive, send)
        except Exception as error:
            cut = error
        if not self._is_whole:
            note_cut(scope, cut)

    async def stream_response(self, send: Send) -> None:
        async def send_with_timeout(message: Message) -> None:
            try:
                with anyio.fail_after(self._send_timeout_s):
                    await send(message)
            except TimeoutError:
                raise SlowReaderError(self._send_timeout_s) from None

        await super().stream_response(send_with_timeout)
        self._is_whole = True


def _describe_images(manifest: Manifest, addresses: Sequence[Address]) -> list[dict[str, Any]]:
    return [
        {
            "address": str(address),
            "index": address.index if address.start else position,
            "label": address.label,
            "label_name": manifest.class_name(address.label),
            "psi": address.psi,
        }
        for position, address in enumerate(addresses)
    ]


def _make_entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, EPOCH)


class ZipBuffer(io.RawIOBase):
    """Buffers what an archive writes until it is taken; not seekable, so that zipfile never patches what was sent."""

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
