"""Make those shards of an export that are not committed yet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models import artifact, store
from models.artifact_files import ArtifactFiles
from models.content_credentials import SigningKey
from models.errors import ArtifactError, ExportError, GanmintError
from models.sampler import Sampler
from models.store import StoredModel
from service.export import state, worker
from service.export.plan import ExportSpec, Shard
from service.export.progress import ExportProgressBar
from service.export.target import Target

Echo = Callable[[str], None]


@dataclass(frozen=True)
class ExportRequest:
    """What one run makes.

    Attributes:
        url: the target.
        spec: the whole export.
        model_dir: the model's artifact folder.
        device: cpu, cuda or cuda:N.
        shards: this run's share of the export's shards.
        signing_key: for Content Credentials; None for files without.
    """

    url: str
    spec: ExportSpec
    model_dir: Path
    device: str
    shards: tuple[Shard, ...]
    signing_key: SigningKey | None = None


# Makes these shards of the request and reports the progress; returns when all are committed.
Engine = Callable[[ExportRequest, Sequence[Shard], ExportProgressBar], None]


def make_shards(request: ExportRequest, engine: Engine, echo: Echo, show_progress: bool = True) -> int:
    """Make the shards that are not committed yet; return how many that were.

    Raises: ExportError, KeyboardInterrupt; committed shards are kept, and another run goes on from there.
    """
    target = Target(request.url)
    drafts = [name for s in request.shards for name in (s.name, state.marker_name(s.number))]
    state.write_header(target, request.spec, request.model_dir)
    target.remove_drafts(drafts)
    committed = state.read_commits(target, request.spec, list(request.shards))
    for number, commit in sorted(committed.items()):
        if damage := state.find_damage(target, commit, thorough=False):
            echo(f"shard {number} is made again: {damage}")
            del committed[number]
    missing = [s for s in request.shards if s.number not in committed]
    if committed:
        echo(f"{len(committed)} of {len(request.shards)} shards are committed already")
    if not missing:
        return 0
    progress = _progress_bar(request, missing, show_progress)
    try:
        target.remove(state.WHOLE_FILE)
        engine(request, missing, progress)
    except (ExportError, KeyboardInterrupt) as error:
        progress.end()
        # Of workers that were killed; the others have discarded theirs.
        with contextlib.suppress(GanmintError):
            target.remove_drafts(drafts)
        kept = f"{progress.done_shards} of {len(request.shards)} shards are committed and kept"
        advice = f"{kept}; run the same command again to go on"
        if isinstance(error, ExportError):
            raise ExportError(error.path, f"{error.reason}. {advice}") from error
        echo(f"Interrupted. {advice}")
        raise
    progress.end()
    return len(missing)


def read_model(request: ExportRequest) -> ArtifactFiles:
    """Read the request's model once and check it, also that it is still the one that the export is of.

    Raises: as `models.store.read_artifact`; ArtifactError.
    """
    spec = request.spec
    files = store.read_artifact(StoredModel(spec.model, spec.version, request.model_dir))
    if files.digest != spec.model_digest:
        raise ArtifactError(
            request.model_dir, "was replaced since the export was begun; put back what it was begun with"
        )
    return files


def _progress_bar(request: ExportRequest, missing: Sequence[Shard], is_shown: bool) -> ExportProgressBar:
    images = sum(s.count for s in request.shards)
    return ExportProgressBar(
        images=images,
        shards=len(request.shards),
        done_images=images - sum(s.count for s in missing),
        done_shards=len(request.shards) - len(missing),
        is_shown=is_shown,
    )


def in_this_process(request: ExportRequest, shards: Sequence[Shard], progress: ExportProgressBar) -> None:
    """Make shards one after the other, on every core where that changes no bit; an engine."""
    sampler = artifact.load_files(read_model(request), request.device)
    target = Target(request.url)
    with one_thread(sampler):
        for shard in shards:
            worker.make_shard(
                sampler, target, request.spec, shard, progress.add, use_all_cores=True, signing_key=request.signing_key
            )
            progress.add_shards(1)


@contextlib.contextmanager
def one_thread(sampler: Sampler) -> Iterator[None]:
    """Run torch on one thread in the block, where it is torch that runs the sampler.

    Each run would set that by itself and set it back, which takes time.
    """
    if sampler.runtime.name != "torchscript":
        yield
        return
    from models.runtime import torchscript

    with torchscript.one_thread():
        yield
