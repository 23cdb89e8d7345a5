"""The commands of bulk export: export, dataset finish, dataset verify."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import click

from models import artifact, store
from models.cli import PATH, ModelCommand, device_option, index_option, psi_option, seed_option
from models.errors import InputError
from models.labels import Label, parse_labels
from models.runtime.loading import resolve_device
from service.export import api, plan, state
from service.export import finish as finishing
from service.export import run as running
from service.export import verify as verifying
from service.export.api import EngineName, ExportSummary
from service.export.interrupts import Interrupted, end_on_signals
from service.export.plan import ExportSpec, Format, ImageFormat, Split
from service.export.progress import ExportProgressBar, format_count, format_size
from service.export.run import ExportRequest
from service.export.target import Target

# A cluster's pods take minutes a shard; every look lists the markers.
WAIT_POLL_S = 10.0
URL = click.argument("url")


class _ExportCommand(ModelCommand):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if first not in dataset.commands:
                raise
            message = f"{error.format_message().rstrip('.')}. Did you mean: ganmint dataset {first}"
            raise click.UsageError(message, ctx) from None


@click.command(
    cls=_ExportCommand,
    epilog="\b\nExamples:\n"
    "  ganmint export digits --count 60000 --seed 1 --labels balanced --format idx --out mnist\n"
    "  ganmint export digits --count 1000000 --format webdataset --workers 8 --out s3://bucket/digits\n"
    "  ganmint export digits --count 60000 --format parquet --out digits --shard 3/16\n"
    "  ganmint export digits --count 60 --walk digits/4.2.0/7/0 --walk digits/4.2.0/8/0 --format npz --out walk",
)
@click.argument("model")
@click.option("--count", type=int, required=True, help="How many images; a larger count extends an export.")
@click.option("--format", "format_", type=click.Choice(plan.FORMATS), required=True, help="How images become files.")
@click.option("--out", required=True, help="A folder, or a URL of an object store, such as s3://bucket/folder.")
@seed_option
@index_option
@click.option(
    "--labels",
    help="A class by number, name or values (age=60+,gender=female, or as a JSON object), or "
    '"balanced" (index modulo classes). Default: drawn from the seed.',
)
@psi_option
@click.option(
    "--walk",
    metavar="ADDRESS",
    multiple=True,
    help="A stop of a walk; give two or more. The --count images are its steps, as of ganmint walk. "
    "The stops say seed, label and psi.",
)
@click.option("--loop", is_flag=True, help="Walk back to the first stop.")
@click.option(
    "--image-format",
    type=click.Choice(get_args(ImageFormat)),
    help="The type of the picture files. Default: png; npz and idx hold pixels instead.",
)
@click.option(
    "--split",
    type=click.Choice(get_args(Split)),
    default="train",
    show_default=True,
    help="The name of the part that the images are, and of its files; idx calls test t10k.",
)
@click.option(
    "--shard-size",
    type=int,
    default=plan.SHARD_SIZE,
    show_default=True,
    help="Images in a shard: a part that is made, checked and resumed as a whole.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Processes, each with its own copy of the model. One uses every core for ONNX, several use one each.",
)
@click.option(
    "--shard",
    help="I/N: make only the shards whose number modulo N is I, and leave out the finish; "
    "for a Kubernetes Indexed Job: $JOB_COMPLETION_INDEX/N.",
)
@click.option(
    "--engine",
    type=click.Choice(get_args(EngineName)),
    default="local",
    show_default=True,
    help="local: processes of this machine. ray: one task a shard, on RAY_ADDRESS or this machine.",
)
@device_option
@click.option(
    "--c2pa-key",
    type=PATH,
    help="Sign every picture file with Content Credentials (C2PA) by this private key (PEM, not encrypted).",
)
@click.option("--c2pa-cert", type=PATH, help="The key's certificate chain (PEM): its own first, then its issuers'.")
@click.option("--dry-run", is_flag=True, help="Print what would be made, and write nothing.")
def export(
    model: str,
    count: int,
    format_: Format,
    out: str,
    seed: int,
    index: int,
    labels: str | None,
    psi: float,
    walk: tuple[str, ...],
    loop: bool,
    image_format: ImageFormat | None,
    split: Split,
    shard_size: int,
    workers: int,
    shard: str | None,
    engine: EngineName,
    device: str,
    c2pa_key: Path | None,
    c2pa_cert: Path | None,
    dry_run: bool,
) -> None:
    """Write a labelled data set of any size. MODEL is a name or name/version.

    Every image is byte for byte what the service answers for the same address. Run again, the same command
    skips the shards that are complete; a killed export ends with the same bytes as an undisturbed one. Content
    Credentials have a random part, and are the exception to both.

    Ctrl-C and SIGTERM end every process within seconds, with exit code 130 or 143. A shell makes its background
    jobs ignore Ctrl-C; end those with kill.
    """
    try:
        with end_on_signals():
            request, notes = api.resolve_request(
                model,
                count=count,
                out=out,
                format=format_,
                seed=seed,
                index=index,
                labels=_parse_label(labels),
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
                shard_group=plan.parse_group(shard) if shard else (0, 1),
            )
            click.echo(_describe(request, shard, f"{engine}, {workers} worker(s), {request.device}"))
            for note in notes:
                click.echo(note)
            if dry_run:
                for one in request.shards:
                    click.echo(f"shard {one.name}: images {one.first} to {one.first + one.count - 1}")
                return
            made = running.make_shards(request, api.find_engine(engine, workers), click.echo)
            if shard:
                total = len(request.shards)
                click.echo(f"Made {made} of {total} shards; when all groups are done: ganmint dataset finish {out}")
                return
            _echo_summary(api.finish_dataset(out))
    except Interrupted as interrupted:
        raise click.exceptions.Exit(interrupted.exit_code) from None


@click.group()
def dataset() -> None:
    """Finish and verify the data sets that export writes."""


@dataset.command(
    short_help="Check an export and write its README and indices.",
    epilog="\b\nExamples:\n"
    "  ganmint dataset finish s3://bucket/digits\n"
    "  ganmint dataset finish digits --wait 3600 --count 60000",
)
@URL
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Seconds to wait for shards that others are making.",
)
@click.option("--count", type=click.IntRange(0), default=0, help="With --wait: how many images there must be.")
def finish(url: str, wait_s: float, count: int) -> None:
    """Check every shard of the export at URL and write README.md, croissant.json and manifest.json.

    An export that makes all shards does this by itself. Every byte is read again and compared with its digest; a
    damaged shard is made again by the next run of the export.
    """
    if wait_s:
        finishing.wait_for_shards(Target(url), count, wait_s, WAIT_POLL_S, click.echo)
    _echo_summary(api.finish_dataset(url, thorough=True))


@dataset.command(
    cls=ModelCommand,
    short_help="Check an export's files and mint its images again.",
    epilog="\b\nExample:\n  ganmint dataset verify digits --sample 1000",
)
@URL
@click.option(
    "--sample",
    type=click.IntRange(1),
    help="Mint this many images again, drawn at random. Default: all. Files are read in full all the same.",
)
@click.option(
    "--digests/--no-digests",
    "has_digests",
    default=True,
    show_default=True,
    help="Read every file and compare its sha256; without, only its size.",
)
@device_option
def verify(url: str, sample: int | None, has_digests: bool, device: str) -> None:
    """Check the files of the export at URL, then mint its images again and compare.

    First every file must have the size and the sha256 that were recorded when it was written. Then images are
    minted again from the addresses they carry, and compared byte by byte. Nothing is written.
    """
    target = Target(url)
    spec = state.read_context(target).spec
    stored = store.find_version(spec.model, spec.version)
    files = store.read_artifact(stored)
    if files.digest != spec.model_digest:
        raise InputError(f"the store's {stored} is another model than the one that made this export", "URL")
    num_files = verifying.check_files(target, spec, has_digests)
    recorded = "sizes and digests that were recorded" if has_digests else "sizes that were recorded"
    click.echo(f"{format_count(num_files, 'file')} checked: the {recorded}")
    sampler = artifact.load_files(files, resolve_device(device))
    progress = ExportProgressBar(images=min(sample or spec.count, spec.count), shards=0, done_images=0, done_shards=0)
    with running.one_thread(sampler):
        result = verifying.verify(target, spec, sampler, sample, lambda n: progress.add(n, 0))
    unsigned = ", without their Content Credentials" if spec.c2pa_signer else ""
    same = result.images - result.close
    click.echo(f"{result.images} images minted again: {same} are the same byte for byte{unsigned}")
    if result.close:
        click.echo(
            f"{result.close} are off by at most {result.worst} of 255: made on another kind of machine than this"
        )


def _parse_label(text: str | None) -> Label | None:
    """Read --labels: one class, or "balanced"."""
    spec = None if text is None else parse_labels(text)
    if isinstance(spec, list):
        raise InputError(f'must be one label or "balanced", got {text!r}', "--labels")
    return cast(Label | None, spec)


def _describe(request: ExportRequest, shard: str | None, engine: str) -> str:
    spec = request.spec
    group = f", group {shard}: {len(request.shards)} of them" if shard else ""
    rows = {
        "model": f"{spec.model} {spec.version} ({spec.model_digest[:12]})",
        **_describe_images(spec),
        "format": f"{spec.format}{f' of {spec.image_format}' if spec.image_format else ''}, split {spec.split}",
        "shards": f"{len(spec.shards())} of up to {spec.shard_size} images{group}",
        **({"signed by": spec.c2pa_signer} if spec.c2pa_signer else {}),
        "engine": engine,
        "out": request.url,
    }
    return "\n".join(f"# {name}: {value}" for name, value in rows.items())


def _describe_images(spec: ExportSpec) -> dict[str, object]:
    if spec.walk:
        stops = [*spec.walk, *spec.walk[: spec.loop]]
        return {"images": f"{spec.count}, steps of a walk", "walk": " to ".join(stops)}
    return {
        "images": f"{spec.count}, seed {spec.seed}, index {spec.index} to {spec.index + spec.count - 1}",
        "labels": "drawn from the seed" if spec.labels is None else spec.labels,
        "psi": f"{spec.psi:g}",
    }


def _echo_summary(summary: ExportSummary) -> None:
    if len(summary.fingerprints) > 1:
        click.echo("Made on several kinds of machines; a pixel may differ by 1 of 255 between these:")
        for fingerprint in summary.fingerprints:
            click.echo(f"  {fingerprint}")
    click.echo(
        f"Finished: {summary.images} images, {format_size(summary.bytes)}, "
        f"{format_count(summary.shards, 'shard')} in {summary.url}; see {summary.url}/{finishing.README}"
    )
