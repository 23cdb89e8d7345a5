"""The commands of bulk export: export, export finish, export verify.

Knows: options, and what is printed. Does not know: how an export is made, finished or checked.
"""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

import click

from models import artifact, manifest, store
from models.cli import device_option
from models.errors import InputError
from models.runtime.loading import resolve_device
from service.export import finish as finishing
from service.export import formats, plan, state
from service.export import run as running
from service.export import verify as verifying
from service.export.plan import PIXEL_FORMATS, ExportSpec, Format, ImageFormat, Split
from service.export.progress import Progress, counted, size_text
from service.export.run import Engine, Order
from service.export.target import Target

# A cluster's pods take minutes a shard; every look lists the markers.
WAIT_POLL_S = 10.0
URL = click.argument("url")


class _Export(click.Group):
    """A command that makes an export, with commands below it that look after one."""

    allow_interspersed_args = True

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in self.commands:
            return self.commands[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return click.Command.parse_args(self, ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        return click.Command.invoke(self, ctx)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return click.Command.collect_usage_pieces(self, ctx)


@click.group(
    cls=_Export,
    epilog="\b\nExamples:\n"
    "  ganmint export digits --count 60000 --seed 1 --labels balanced --format idx --out mnist\n"
    "  ganmint export digits --count 1000000 --format webdataset --workers 8 --out s3://bucket/digits\n"
    "  ganmint export digits --count 60000 --format parquet --out digits --shard 3/16\n"
    "  ganmint export finish digits\n"
    "  ganmint export verify digits --sample 1000",
)
@click.argument("model")
@click.option("--count", type=int, required=True, help="How many images; a larger count extends an export.")
@click.option("--format", "format_", type=click.Choice(plan.FORMATS), required=True)
@click.option("--out", required=True, help="A folder or any fsspec URL, such as s3://bucket/folder.")
@click.option("--seed", type=int, default=0, show_default=True, help="0 .. 2^53-1.")
@click.option("--index", type=int, default=0, show_default=True, help="Of the first image; the others follow.")
@click.option(
    "--labels", help='A label, or "balanced" (index modulo the number of classes). Default: drawn from the seed.'
)
@click.option("--psi", type=float, default=1.0, show_default=True, help="Truncation, above 0 and at most 1.")
@click.option("--image-format", type=click.Choice(get_args(ImageFormat)),
              help="Of the picture files. Default: png; npz and idx hold pixels instead.")  # fmt: skip
@click.option("--split", type=click.Choice(get_args(Split)), default="train", show_default=True,
              help="What the files are called; idx calls test t10k.")  # fmt: skip
@click.option("--shard-size", type=int, default=10_000, show_default=True, help="Images in a shard.")
@click.option("--workers", type=click.IntRange(1, 1024), default=1, show_default=True,
              help="Processes, each with its own copy of the model.")  # fmt: skip
@click.option("--shard", help="I/N: make only the shards whose number modulo N is I, and leave out finish; "
              "for a Kubernetes Indexed ExportSpec: $JOB_COMPLETION_INDEX/N.")  # fmt: skip
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
              help="ray: one task a shard, on RAY_ADDRESS or this machine.")  # fmt: skip
@device_option
@click.option("--dry-run", is_flag=True, help="Print the job and its shards, and write nothing.")
def export(
    model: str,
    count: int,
    format_: Format,
    out: str,
    seed: int,
    index: int,
    labels: str | None,
    psi: float,
    image_format: ImageFormat | None,
    split: Split,
    shard_size: int,
    workers: int,
    shard: str | None,
    engine: Literal["local", "ray"],
    device: str,
    dry_run: bool,
) -> None:
    """Write a labelled data set of any size. MODEL is a name or name/version.

    Every image is byte for byte what the service answers for the same address. Run again, the same command
    skips the shards that are committed; a killed export ends with the same bytes as an undisturbed one.
    A model called finish or verify is asked for with its version.
    """
    stored = store.find_model(model)
    card = manifest.read(stored.path)
    wanted = ExportSpec(
        model=stored.name, version=stored.version, model_digest=artifact.digest(stored.path), seed=seed, index=index,
        counts=(count,), labels=_labels(labels), psi=psi, format=format_,
        image_format=_image_format(format_, image_format), shard_size=shard_size, split=split,
    )  # fmt: skip
    plan.check(wanted, card)
    part, parts = plan.parse_group(shard) if shard else (0, 1)
    formats.require_packages(format_)
    target = Target(out)
    job, notes = state.settle(target, wanted)
    mine = plan.group(job.shards(), part, parts)
    click.echo(_resolved(job, target, len(mine), shard, f"{engine}, {workers} worker(s), {device}"))
    for note in notes:
        click.echo(note)
    if dry_run:
        for one in mine:
            click.echo(f"shard {one.name}: images {one.first} to {one.first + one.count - 1}")
        return
    order = Order(target.url, job, stored.path, _device(device, engine), tuple(mine))
    made = running.run(order, _engine(engine, workers), click.echo)
    if shard:
        click.echo(f"Made {made} of {len(mine)} shards; when all groups are done: ganmint export finish {out}")
        return
    _say_finished(target, finishing.finish(target, thorough=False))


@export.command(
    epilog="\b\nExamples:\n"
    "  ganmint export finish s3://bucket/digits\n"
    "  ganmint export finish digits --wait 3600 --count 60000"
)
@URL
@click.option("--wait", "wait_s", type=click.FloatRange(0), default=0.0, show_default=True,
              help="Seconds to wait for shards that others are making.")  # fmt: skip
@click.option("--count", type=click.IntRange(0), default=0, help="With --wait: images that there must be.")
def finish(url: str, wait_s: float, count: int) -> None:
    """Verify every shard of the export at URL and write README.md, croissant.json and manifest.json.

    An export that makes all shards does this by itself. Every byte is read again and compared with its digest; a
    damaged shard is made again by the next run of the export.
    """
    target = Target(url)
    if wait_s:
        finishing.wait(target, count, wait_s, WAIT_POLL_S, click.echo)
    _say_finished(target, finishing.finish(target, thorough=True))


@export.command(epilog="\b\nExample:\n  ganmint export verify digits --sample 1000")
@URL
@click.option("--sample", type=click.IntRange(1), help="So many images, drawn. Default: all.")
@device_option
def verify(url: str, sample: int | None, device: str) -> None:
    """Mint images of the export at URL again from the addresses they carry, and compare byte by byte."""
    target = Target(url)
    job, _ = state.read_job(target)
    stored = store.find(job.model, job.version)
    if artifact.digest(stored.path) != job.model_digest:
        raise InputError(f"the store's {stored} is another model than the one that made this export", "URL")
    sampler = artifact.load(stored.path, resolve_device(device))
    progress = Progress(min(sample or job.count, job.count), 0, 0, 0)
    with running.one_thread():
        outcome = verifying.verify(target, job, sampler, sample, lambda n: progress.add(n, 0))
    click.echo(f"{outcome.images} images minted again: {outcome.images - outcome.close} are the same byte for byte")
    if outcome.close:
        click.echo(
            f"{outcome.close} are off by at most {outcome.worst} of 255: made on another kind of machine than this"
        )


def _labels(text: str | None) -> int | Literal["balanced"] | None:
    if text is None or text == "balanced":
        return cast(Literal["balanced"] | None, text)
    try:
        return int(text)
    except ValueError:
        raise InputError(f'must be one label or "balanced", got {text!r}', "--labels") from None


def _image_format(format_: Format, asked: ImageFormat | None) -> ImageFormat | None:
    if format_ not in PIXEL_FORMATS:
        return asked or "png"
    if asked:
        raise InputError(f"{format_} holds pixels, not picture files; leave it out", "--image-format")
    return None


def _device(device: str, engine: str) -> str:
    # A cluster's devices are looked for there.
    return device if engine == "ray" else resolve_device(device)


def _engine(engine: str, workers: int) -> Engine:
    if engine == "ray":
        from service.export.ray_engine import RayEngine

        return RayEngine(workers=workers)
    return running.in_this_process if workers == 1 else running.in_processes(workers)


def _resolved(job: ExportSpec, target: Target, mine: int, shard: str | None, how: str) -> str:
    rows = {
        "model": f"{job.model} {job.version} ({job.model_digest[:12]})",
        "images": f"{job.count}, seed {job.seed}, index {job.index} to {job.index + job.count - 1}",
        "labels": "drawn from the seed" if job.labels is None else job.labels,
        "psi": f"{job.psi:g}",
        "format": f"{job.format}{f' of {job.image_format}' if job.image_format else ''}, split {job.split}",
        "shards": f"{len(job.shards())} of up to {job.shard_size} images"
        + (f", group {shard}: {mine} of them" if shard else ""),
        "engine": how,
        "out": target.url,
    }
    return "\n".join(f"# {name}: {value}" for name, value in rows.items())


def _say_finished(target: Target, written: dict[str, Any]) -> None:
    if len(written["fingerprints"]) > 1:
        click.echo("Made on several kinds of machines; a pixel may differ by 1 of 255 between these:")
        for fingerprint in written["fingerprints"]:
            click.echo(f"  {fingerprint}")
    click.echo(
        f"Finished: {written['images']} images, {size_text(written['bytes'])}, "
        f"{counted(len(written['shards']), 'shard')} in {target.url}; see {target.sibling(finishing.README)}"
    )
