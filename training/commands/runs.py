"""The commands that show runs: movie and compare."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from models.cli import PATH, write_output
from models.errors import InputError
from training.runs import comparison
from training.runs.comparison import RunSummary
from training.runs.timelapse import encode_movie

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
# Longer settings are cut in the table; config.yaml has them in full.
MAX_CELL_WIDTH = 36


@click.command(epilog="\b\nExample:\n  ganmint movie runs/mydigits --out mydigits.webp")
@click.argument("run_folder", metavar="RUN", type=PATH)
@click.option("--out", type=PATH, help="The animated WebP to write; browsers show it. Default: RUN/movie.webp.")
@click.option("--fps", type=click.FloatRange(0.5, 30), default=8, show_default=True, help="Frames per second.")
@click.option(
    "--longest",
    "max_seconds",
    type=click.FloatRange(1),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="Leave out frames of a long training to keep the video this short.",
)
def movie(run_folder: Path, out: Path | None, fps: float, max_seconds: float) -> None:
    """Make a video of a training from the grids of samples that it saved, one after every tick_kimg.

    Each grid has the images of the same random numbers (latents)."""
    out = out or run_folder / "movie.webp"
    if out.suffix.lower() != ".webp":
        raise InputError(f"must end in .webp, got {out.name}; ffmpeg makes other formats from RUN/grids", "--out")
    video = encode_movie(run_folder, fps, max_seconds)
    write_output(out, video.content)
    click.echo(f"{out}: {video.num_frames} frames, {len(video.content) / 1e6:.1f} MB")


@click.command(
    epilog="\b\nExample:\n  ganmint compare runs/a runs/b --plot compare.png",
)
@click.argument("run_folders", metavar="RUN...", nargs=-1, required=True, type=PATH)
@click.option("--plot", type=PATH, help="Plot the curves of all runs to this file (.png, .svg or .pdf).")
def compare(run_folders: tuple[Path, ...], plot: Path | None) -> None:
    """Show runs side by side: the settings in which they differ, and their results.

    Each RUN is a run folder: two or more to compare, or one to show its results. Losses, acc_pair and r1 are
    means over the last five ticks. Scores appear for runs that ganmint evaluate has measured.
    """
    if plot and plot.suffix.lower() not in PLOT_SUFFIXES:
        raise InputError(f"must end in .png, .svg or .pdf, got {plot.name}", "--plot")
    runs = comparison.read_runs(run_folders)
    for line in _table(runs):
        click.echo(line)
    score_data = comparison.describe_score_data(runs)
    if score_data:
        click.echo(f"Scores on different data cannot be compared: {', '.join(score_data)}")
    if plot:
        write_output(plot, _plot_curves(runs, plot.suffix.lower()[1:]), "--plot")
        click.echo(f"plot: {plot}")


def _table(runs: Sequence[RunSummary]) -> Iterable[str]:
    settings = comparison.find_differences(runs)
    results = comparison.collect_results(runs)
    rows = [["", *_short_names(runs)]]
    rows += [[name, *map(_format_setting, values)] for name, values in settings.items()]
    rows += [[name, *map(_format_result, values)] for name, values in results.items()]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for k, row in enumerate(rows):
        if k == 1:
            yield "settings" if settings else "no setting differs"
        if k == 1 + len(settings):
            yield "results"
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:])]
        yield f"  {row[0]:<{widths[0]}}  {'  '.join(cells)}".rstrip()


def _short_names(runs: Sequence[RunSummary]) -> list[str]:
    """Return the folders' own names, or the paths as given if the names are not distinct."""
    names = [Path(run.name).resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [run.name for run in runs]


def _format_setting(value: Any) -> str:
    text = "-" if value is None else str(value).replace(" ", "")
    return text if len(text) <= MAX_CELL_WIDTH else text[: MAX_CELL_WIDTH - 1] + "…"


def _format_result(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _plot_curves(runs: Sequence[RunSummary], file_format: str) -> bytes:
    # Imported here: it takes a second, and only plotting needs it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    for axes, name in zip(figure.subplots(2, 2).flat, comparison.CURVES):
        for label, run in zip(_short_names(runs), runs):
            kimg = [tick["kimg"] for tick in run.ticks]
            values = [tick.get(name, math.nan) for tick in run.ticks]
            axes.plot(kimg, values, label=label, linewidth=1.2)
        axes.set(title=name, xlabel="kimg", yscale="log" if name == "r1" else "linear")
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, dpi=120, metadata=_metadata_without_date(file_format))
    return buffer.getvalue()


def _metadata_without_date(file_format: str) -> Mapping[str, None]:
    """Leave the date out, so that equal runs give equal files."""
    return {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(file_format, {})
