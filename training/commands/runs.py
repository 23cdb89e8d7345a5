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
from training.evaluation.comparison_page import ComparisonTable, render_comparison
from training.runs import comparison
from training.runs.comparison import RunSummary
from training.runs.timelapse import encode_movie

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
# Longer settings are cut in the table; config.yaml has them in full.
MAX_CELL_WIDTH = 36
PLOT_COLUMNS = 3


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
    epilog="\b\nExample:\n  ganmint compare runs/a runs/b --html compare.html",
)
@click.argument("run_folders", metavar="RUN...", nargs=-1, required=True, type=PATH)
@click.option("--html", type=PATH, help="Write the table and the curves of all runs to this page (.html).")
@click.option("--plot", type=PATH, help="Plot the curves of all runs to this file (.png, .svg or .pdf).")
@click.option("--force", is_flag=True, help="Show scores even if they do not compare.")
def compare(run_folders: tuple[Path, ...], html: Path | None, plot: Path | None, force: bool) -> None:
    """Show runs side by side: the settings in which they differ, their results, and their curves.

    Each RUN is a run folder: two or more to compare, or one to show its results. Losses, acc_pair, recon_loss and r1
    are means over the last five ticks. Scores appear for runs that ganmint evaluate has measured. Scores by
    different protocols, on different data or on different parts of the data are left out.
    """
    if html and html.suffix.lower() != ".html":
        raise InputError(f"must end in .html, got {html.name}", "--html")
    if plot and plot.suffix.lower() not in PLOT_SUFFIXES:
        raise InputError(f"must end in .png, .svg or .pdf, got {plot.name}", "--plot")
    runs = comparison.read_runs(run_folders)
    for line in format_comparison(tabulate(runs, force)):
        click.echo(line)
    if html:
        write_output(html, comparison_html(runs, force), "--html")
        click.echo(f"page: {html}")
    if plot:
        write_output(plot, _plot_curves(runs, plot.suffix.lower()[1:], force), "--plot")
        click.echo(f"plot: {plot}")


def comparison_html(runs: Sequence[RunSummary], force: bool = False) -> bytes:
    """Render the page of runs side by side."""
    return render_comparison(
        tabulate(runs, force), comparison.collect_panels(runs, _shows_scores(runs, force))
    ).encode()


def _shows_scores(runs: Sequence[RunSummary], force: bool) -> bool:
    return force or not comparison.describe_bases(runs)


def tabulate(runs: Sequence[RunSummary], force: bool = False) -> ComparisonTable:
    """Make the table of runs side by side; scores that do not compare are left out unless forced."""
    bases = comparison.describe_bases(runs)
    notes = []
    if bases:
        start = "These scores do not compare" if force else "The scores do not compare and are left out (see --force)"
        notes.append(f"{start}. {'; '.join(bases)}")
    notes += [text for text in [comparison.describe_lengths(runs)] if text]
    settings = comparison.find_differences(runs)
    results = comparison.collect_results(runs, _shows_scores(runs, force))
    if _shows_scores(runs, force):
        for names, scores in comparison.average_over_seeds(runs).items():
            values = ", ".join(f"{name} {mean:.4g} ± {sd:.2g}" for name, (mean, sd) in scores.items())
            notes.append(f"Mean and deviation over the seeds of {names}: {values}")
    return ComparisonTable(
        names=_short_names(runs),
        settings=[[name, *map(_format_setting, values)] for name, values in settings.items()],
        results=[[name, *map(_format_result, values)] for name, values in results.items()],
        notes=notes,
    )


def format_comparison(table: ComparisonTable) -> Iterable[str]:
    """Format the table for a terminal."""
    rows = [["", *table.names], *table.settings, *table.results]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:])]
        return f"  {row[0]:<{widths[0]}}  {'  '.join(cells)}".rstrip()

    yield line(rows[0])
    yield "settings" if table.settings else "no setting differs"
    yield from map(line, table.settings)
    yield "results"
    yield from map(line, table.results)
    yield from table.notes


def _short_names(runs: Sequence[RunSummary]) -> list[str]:
    """Return the folders' own names, or the paths as given if the names are not distinct."""
    names = [Path(run.name).resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [run.name for run in runs]


def _format_setting(value: Any) -> str:
    text = "-" if value is None else str(value).replace(" ", "")
    return text if len(text) <= MAX_CELL_WIDTH else text[: MAX_CELL_WIDTH - 1] + "…"


def _format_result(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _plot_curves(runs: Sequence[RunSummary], file_format: str, force: bool) -> bytes:
    # Imported here: it takes a second, and only plotting needs it.
    from matplotlib.figure import Figure

    panels = comparison.collect_panels(runs, _shows_scores(runs, force))
    if not panels:
        raise InputError("the runs have no curves yet: each needs two ticks", "--plot")
    num_columns = min(len(panels), PLOT_COLUMNS)
    num_rows = math.ceil(len(panels) / num_columns)
    figure = Figure(figsize=(5 * num_columns, 3.2 * num_rows), layout="constrained")
    all_axes = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
    for unused in all_axes[len(panels) :]:
        unused.remove()
    for axes, panel in zip(all_axes, panels):
        for label, points in zip(_short_names(runs), panel.lines):
            xs, ys = zip(*points) if points else ((), ())
            axes.plot(xs, ys, label=label, linewidth=1.2, marker="o" if panel.has_marks else "")
        axes.set(title=panel.title, xlabel="kimg")
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, dpi=120, metadata=_metadata_without_date(file_format))
    return buffer.getvalue()


def _metadata_without_date(file_format: str) -> Mapping[str, None]:
    """Leave the date out, so that equal runs give equal files."""
    return {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(file_format, {})
