"""The commands that show runs: movie and compare."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models.cli import PATH, read_ending, write_output
from models.errors import InputError
from training.evaluation.comparison_page import ComparisonTable, render_comparison
from training.metric_results import MetricInfo, describe_metric
from training.runs import comparison
from training.runs.comparison import RunSummary
from training.runs.comparison_curves import Curves, collect_curves, collect_snapshot_curves
from training.runs.timelapse import encode_movie

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
# Longer settings are cut in the table; config.yaml has them in full.
MAX_CELL_WIDTH = 36
PLOT_COLUMNS = 3
# The table has scores of about so many states; the curves have all.
MAX_STATES = 8


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
    click.echo(f"{out}: {video.num_frames} frames, {len(video.content) / 1e3:,.0f} kB")


@click.command(
    epilog="\b\nExample:\n  ganmint compare runs/a runs/b --html compare.html",
)
@click.argument("run_folders", metavar="RUN...", nargs=-1, required=True, type=PATH)
@click.option("--html", type=PATH, help="Write the table and the curves of all runs to this page (.html).")
@click.option("--plot", type=PATH, help="Plot the curves of all runs to this file (.png, .svg or .pdf).")
@click.option("--force", is_flag=True, help="Show scores even if they do not compare.")
def compare(run_folders: tuple[Path, ...], html: Path | None, plot: Path | None, force: bool) -> None:
    """Show runs side by side: the settings in which they differ, their results, and their curves.

    Each RUN is a run folder: two or more to compare, or one to show its results. Losses, D's accuracy in pairs, the
    reconstruction and R1 are means over the last five ticks. Scores appear for runs that ganmint evaluate has measured,
    and scores by kimg for those whose snapshots are scored. Scores by different protocols, on different data
    or on different parts of the data are left out.
    """
    if html:
        read_ending(html, ["html"], "--html")
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
    return render_comparison(tabulate(runs, force), _collect_shown(runs, force)).encode()


def _collect_shown(runs: Sequence[RunSummary], force: bool) -> list[Curves]:
    """Return the curves, without those of scores that do not compare unless forced."""
    return collect_curves(runs, _shows_scores(runs, force), _shows_snapshot_scores(runs, force))


def _shows_scores(runs: Sequence[RunSummary], force: bool) -> bool:
    return force or not comparison.describe_bases(runs)


def _shows_snapshot_scores(runs: Sequence[RunSummary], force: bool) -> bool:
    return force or not comparison.describe_snapshot_bases(runs)


def tabulate(runs: Sequence[RunSummary], force: bool = False) -> ComparisonTable:
    """Make the table of runs side by side; scores that do not compare are left out unless forced."""
    settings = comparison.find_differences(runs)
    results = comparison.collect_results(runs, _shows_scores(runs, force))
    snapshot_curves = collect_snapshot_curves(runs) if _shows_snapshot_scores(runs, force) else []
    states = _choose_states(snapshot_curves)
    return ComparisonTable(
        names=_short_names(runs),
        settings=[[name, *map(_format_setting, values)] for name, values in settings.items()],
        results=[_result_row(name, values) for name, values in results.items()],
        scores_by_kimg=[row for curves in snapshot_curves for row in _score_rows(curves, states)],
        notes=list(_collect_notes(runs, force)),
        snapshot_notes=[*comparison.describe_choices(runs), *comparison.describe_missing_snapshots(runs)],
    )


def _collect_notes(runs: Sequence[RunSummary], force: bool) -> Iterable[str]:
    for scores, bases in (
        ("scores", comparison.describe_bases(runs)),
        ("scores by kimg", comparison.describe_snapshot_bases(runs)),
    ):
        if bases:
            start = f"These {scores} do not compare" if force else f"The {scores} do not compare and are left out"
            yield f"{start}{'' if force else ' (see --force)'}. {'; '.join(bases)}"
    if lengths := comparison.describe_lengths(runs):
        yield lengths
    if _shows_scores(runs, force):
        for names, averages in comparison.average_over_seeds(runs).items():
            values = ", ".join(
                f"{_describe_result(name).title} {mean:.4g} ± {sd:.2g}" for name, (mean, sd) in averages.items()
            )
            yield f"Mean and deviation over the seeds of {names}: {values}"


def _describe_result(name: str) -> MetricInfo:
    if name in comparison.MEANS:
        return MetricInfo(comparison.MEANS[name], "", ".4g", "")
    return describe_metric(name)


def _result_row(name: str, values: Sequence[float]) -> list[str]:
    info = _describe_result(name)
    return [info.title, *(_format_result(value, info.format_spec) for value in values)]


def _choose_states(snapshot_curves: Sequence[Curves]) -> list[float]:
    """Choose some of the states that were scored, in kimg: evenly, and the newest of each run."""
    lines = [line for curves in snapshot_curves for line in curves.lines if line]
    states = sorted({_round_kimg(kimg) for line in lines for kimg, _ in line})
    step = math.ceil(len(states) / MAX_STATES) or 1
    return sorted({*states[step - 1 :: step], *(_round_kimg(line[-1][0]) for line in lines)})


def _score_rows(curves: Curves, states: Sequence[float]) -> Iterable[list[str]]:
    """Format scores by kimg: a heading, a row for each of these states, and one for real images."""
    scores = [{_round_kimg(kimg): value for kimg, value in line} for line in curves.lines]
    yield [f"{curves.title}, {curves.better} is better", *["" for _ in scores]]
    for kimg in states:
        yield [f"  at {kimg:g} kimg", *(_format_result(of_run.get(kimg), curves.format_spec) for of_run in scores)]
    if curves.real is not None:
        yield [
            "  real images",
            *(_format_result(curves.real if of_run else None, curves.format_spec) for of_run in scores),
        ]


def _round_kimg(kimg: float) -> float:
    """Round to what tells snapshots of a run from one another, not runs whose batches differ in size."""
    return float(f"{kimg:.3g}")


def format_comparison(table: ComparisonTable) -> Iterable[str]:
    """Format the table for a terminal."""
    rows = [["", *table.names], *table.settings, *table.results, *table.scores_by_kimg]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:])]
        return f"  {row[0]:<{widths[0]}}  {'  '.join(cells)}".rstrip()

    yield line(rows[0])
    yield "settings" if table.settings else "no setting differs"
    yield from map(line, table.settings)
    yield "results"
    yield from map(line, table.results)
    if table.scores_by_kimg:
        yield "scores by kimg"
        yield from map(line, table.scores_by_kimg)
    yield from table.snapshot_notes
    yield from table.notes


def _short_names(runs: Sequence[RunSummary]) -> list[str]:
    """Return the folders' own names, or the paths as given if the names are not distinct."""
    names = [Path(run.name).resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [run.name for run in runs]


def _format_setting(value: Any) -> str:
    text = "-" if value is None else str(value).replace(" ", "")
    return text if len(text) <= MAX_CELL_WIDTH else text[: MAX_CELL_WIDTH - 1] + "…"


def _format_result(value: float | None, format_spec: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, format_spec)


def _plot_curves(runs: Sequence[RunSummary], file_format: str, force: bool) -> bytes:
    # Imported here: it takes a second, and only plotting needs it.
    from matplotlib.figure import Figure

    shown = _collect_shown(runs, force)
    if not shown:
        raise InputError("the runs have no curves yet: each needs two ticks", "--plot")
    num_columns = min(len(shown), PLOT_COLUMNS)
    num_rows = math.ceil(len(shown) / num_columns)
    figure = Figure(figsize=(5 * num_columns, 3.2 * num_rows), layout="constrained")
    all_axes = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
    for unused in all_axes[len(shown) :]:
        unused.remove()
    for axes, curves in zip(all_axes, shown):
        _plot(axes, curves, _short_names(runs))
    figure.axes[0].legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, dpi=120, metadata=_metadata_without_date(file_format))
    return buffer.getvalue()


def _plot(axes: Axes, curves: Curves, names: Sequence[str]) -> None:
    for name, points in zip(names, curves.lines):
        xs, ys = zip(*points) if points else ((), ())
        axes.plot(xs, ys, label=name, linewidth=1.2, marker="o" if curves.has_marks else "")
    if curves.real is not None:
        axes.axhline(curves.real, label="real images", linewidth=1.2, linestyle="--", color="grey")
    axes.set(title=curves.title, xlabel="kimg", yscale="log" if curves.is_logarithmic else "linear")
    axes.grid(alpha=0.3)


def _metadata_without_date(file_format: str) -> Mapping[str, None]:
    """Leave the date out, so that equal runs give equal files."""
    return {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(file_format, {})
