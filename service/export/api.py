"""Export a data set: what `ganmint export` does after it has read its options.

summary = export_dataset("digits", count=60_000, out="mnist", format="idx", labels="balanced")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from models import artifact, store
from models.content_credentials import SigningKey, load_signing_key
from models.errors import InputError
from models.labels import Label
from models.manifest import Manifest, read_manifest
from models.runtime.loading import resolve_device
from service.export import finish, formats, plan, state
from service.export.plan import PIXEL_FORMATS, ExportContext, ExportSpec, Format, ImageFormat, Split
from service.export.processes import in_processes
from service.export.run import Echo, Engine, ExportRequest, in_this_process, make_shards
from service.export.target import Target

EngineName = Literal["local", "ray"]


@dataclass(frozen=True)
class ExportSummary:
    """What an export has come to.

    Attributes:
        url: where it is.
        images: of the whole export.
        bytes: of its data files together.
        shards: of the whole export.
        fingerprints: the kinds of machines that made it; within one of them images are equal byte for byte.
    """

    url: str
    images: int
    bytes: int
    shards: int
    fingerprints: tuple[str, ...]


def export_dataset(
    model: str,
    *,
    count: int,
    out: str,
    format: Format,
    seed: int = 0,
    index: int = 0,
    labels: Label | None = None,
    psi: float = 1.0,
    image_format: ImageFormat | None = None,
    split: Split = "train",
    shard_size: int = plan.SHARD_SIZE,
    workers: int = 1,
    engine: EngineName = "local",
    device: str = "auto",
    c2pa_key: Path | None = None,
    c2pa_cert: Path | None = None,
    walk: Sequence[str] = (),
    loop: bool = False,
    echo: Echo | None = None,
) -> ExportSummary:
    """Write a labelled data set of any size; skip the shards that are there already.

    Args:
        model: a name or name/version in the store.
        count: how many images; a larger count than before extends an export.
        out: a folder or any fsspec URL.
        format: imagefolder, webdataset, parquet, npz or idx.
        seed: 0 .. 2^53-1.
        index: of the first image; the others follow.
        labels: a class for all (its number, its name, or its value in each label), "balanced" (index modulo the
            number of classes), or None: drawn from the seed.
        psi: truncation, above 0 and at most 1.
        image_format: png, jpg or webp; None for png, or for pixels where the format holds those (npz, idx).
        split: train or test, which the files are called by.
        shard_size: images in a shard, at most.
        workers: processes, each with its own copy of the model. With more than one, call this below
            `if __name__ == "__main__"`, as Python's multiprocessing asks.
        engine: local, or ray: one task a shard.
        device: auto, cpu, cuda or cuda:N.
        c2pa_key, c2pa_cert: PEM files of a private key and its certificate chain, to sign picture files with Content
            Credentials; None for files without. Signed files are not the same bytes in another run.
        walk: instead of seed, index, labels and psi, the addresses of two or more stops; the images are the steps of a
            walk from stop to stop, as `ganmint walk` takes them. Such an export is never extended.
        loop: walk back to the first stop.
        echo: is called with lines about the progress; None prints nothing.
    Raises:
        InputError: an argument is unusable; nothing has been written.
        FileError: the key or its certificates are; nothing has been written.
        ModelNotFoundError: the store has no such model.
        ExportError: the target cannot be written or holds something else; committed shards are kept.
    """
    request, _ = resolve_request(
        model,
        count=count,
        out=out,
        format=format,
        seed=seed,
        index=index,
        labels=labels,
        psi=psi,
        image_format=image_format,
        split=split,
        shard_size=shard_size,
        engine=engine,
        device=device,
        c2pa_key=c2pa_key,
        c2pa_cert=c2pa_cert,
        walk=walk,
        loop=loop,
    )
    make_shards(request, find_engine(engine, workers), echo or _ignore, show_progress=echo is not None)
    return finish_dataset(out)


def resolve_request(
    model: str,
    *,
    count: int,
    out: str,
    format: Format,
    seed: int,
    index: int,
    labels: Label | None,
    psi: float,
    image_format: ImageFormat | None,
    split: Split,
    shard_size: int,
    engine: EngineName,
    device: str,
    c2pa_key: Path | None = None,
    c2pa_cert: Path | None = None,
    walk: Sequence[str] = (),
    loop: bool = False,
    shard_group: tuple[int, int] = (0, 1),
) -> tuple[ExportRequest, list[str]]:
    """Return what an export has to make, and notes on what is at the target already. Writes nothing.

    Args: as `export_dataset` takes them; shard_group: (i, n) for the shards whose number modulo n is i.
    Raises: as `export_dataset`.
    """
    signing_key = _load_signing_key(format, engine, c2pa_key, c2pa_cert)
    stored = store.find_model(model)
    manifest = read_manifest(stored.path)
    if walk and (seed, index, labels, psi) != (0, 0, None, 1.0):
        raise InputError("says which images; leave --seed, --index, --labels and --psi out", "--walk")
    if loop and not walk:
        raise InputError("is of no use without --walk", "--loop")
    requested = ExportSpec(
        model=stored.name,
        version=stored.version,
        model_digest=artifact.digest(stored.path),
        seed=seed,
        index=index,
        counts=(count,),
        labels=_resolve_label(manifest, labels),
        psi=psi,
        format=format,
        image_format=_resolve_image_format(format, image_format),
        shard_size=shard_size,
        split=split,
        c2pa_signer=signing_key.subject if signing_key else None,
        walk=tuple(_resolve_stop(manifest, k, stop) for k, stop in enumerate(walk)),
        loop=loop,
    )
    plan.check_spec(ExportContext(requested, manifest))
    formats.require_packages(format)
    target = Target(out)
    spec, notes = state.resolve_spec(target, requested)
    # A cluster's devices are looked for there.
    resolved_device = device if engine == "ray" else resolve_device(device)
    shards = tuple(plan.select_group(spec.shards(), *shard_group))
    return ExportRequest(target.url, spec, stored.path, resolved_device, shards, signing_key), notes


def _resolve_label(manifest: Manifest, label: Label | None) -> int | Literal["balanced"] | None:
    """Return the number of a class; what is drawn or "balanced" is resolved for each image."""
    if label is None or label == "balanced":
        return cast(Literal["balanced"] | None, label)
    return manifest.find_label(label)


def _resolve_stop(manifest: Manifest, k: int, stop: str) -> str:
    """Return the canonical address of a stop of a walk."""
    try:
        return str(manifest.parse_address(stop))
    except InputError as error:
        raise InputError(error.reason, f"--walk[{k}].{error.field}") from None


def finish_dataset(url: str, *, thorough: bool = False) -> ExportSummary:
    """Check all shards of the export at a URL, write README.md, croissant.json and manifest.json, and sum it up.

    Args: thorough: read every byte again and compare digests, rather than sizes.
    Raises: ExportError naming the shards that are missing or damaged.
    """
    target = Target(url)
    dataset_manifest = finish.finish(target, thorough)
    return ExportSummary(
        url=target.url,
        images=dataset_manifest["images"],
        bytes=dataset_manifest["bytes"],
        shards=len(dataset_manifest["shards"]),
        fingerprints=tuple(dataset_manifest["fingerprints"]),
    )


def find_engine(name: EngineName, workers: int) -> Engine:
    """Return the engine of a name.

    Raises: InputError when Ray is asked for and not installed.
    """
    if name == "ray":
        from service.export.ray_engine import RayEngine

        return RayEngine(workers=workers)
    return in_this_process if workers == 1 else in_processes(workers)


def _resolve_image_format(format_: Format, image_format: ImageFormat | None) -> ImageFormat | None:
    if format_ not in PIXEL_FORMATS:
        return image_format or "png"
    if image_format:
        raise InputError(f"{format_} holds pixels, not picture files; leave it out", "--image-format")
    return None


def _load_signing_key(format_: Format, engine: EngineName, key: Path | None, cert: Path | None) -> SigningKey | None:
    if key is None and cert is None:
        return None
    if key is None or cert is None:
        raise InputError(*("needs --c2pa-cert, too", "--c2pa-key") if key else ("needs --c2pa-key, too", "--c2pa-cert"))
    if format_ in PIXEL_FORMATS:
        message = f"{format_} holds pixels, not picture files: there is nothing to sign; choose another --format"
        raise InputError(message, "--c2pa-key")
    if engine == "ray":
        raise InputError("the key does not leave this machine; choose --engine local", "--c2pa-key")
    return load_signing_key(key, cert, "--c2pa-key")


def _ignore(_line: str) -> None:
    pass
