"""The commands that look at runs: movie, compare.

Knows: options, tables and plots. Does not know: how runs are read or grids put together.
"""

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
from training.runs.timelapse import movie as movie_of

# Longer settings are cut in the table; config.yaml has them.
WIDEST = 36


@click.command(epilog="\b\nExample:\n  ganmint movie runs/mydigits --out mydigits.webp")
@click.argument("run_folder", metavar="RUN", type=PATH)
@click.option("--out", type=PATH, help="An animated WebP, which browsers show. Default: RUN/movie.webp.")
@click.option("--fps", type=click.FloatRange(0.5, 30), default=8, show_default=True, help="Pictures a second.")
@click.option("--longest", type=click.FloatRange(1), default=30, show_default=True, metavar="SECONDS",
              help="Longer trainings are thinned out to this.")  # fmt: skip
def movie(run_folder: Path, out: Path | None, fps: float, longest: float) -> None:
    """Make a video of RUN's training: the picture of every tick, always from the same latents."""
    out = out or run_folder / "movie.webp"
    if out.suffix.lower() != ".webp":
        raise InputError(f"must end in .webp, got {out.name}; ffmpeg makes other kinds from RUN/grids", "--out")
    content, count = movie_of(run_folder, fps, longest)
    write_output(out, content)
    click.echo(f"{out}: {count} pictures, {len(content) / 1e6:.1f} MB")


@click.command(
    epilog="\b\nExample:\n  ganmint compare runs/a runs/b --plot compare.png",
)
@click.argument("run_folders", metavar="RUN RUN ...", nargs=-1, required=True, type=PATH)
@click.option("--plot", type=PATH, help="Write the curves of all of them as a picture (.png, .svg or .pdf).")
def compare(run_folders: tuple[Path, ...], plot: Path | None) -> None:
    """Show RUNs side by side: the settings in which they differ, and their results.

    Losses, acc_pair and r1 are means over the last five ticks. Scores appear for runs that ganmint evaluate
    has measured.
    """
    if plot and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"must end in .png, .svg or .pdf, got {plot.name}", "--plot")
    runs = comparison.read_all(run_folders)
    for line in _table(runs):
        click.echo(line)
    if found := comparison.incomparable(runs):
        click.echo(f"scores of different data do not compare: {', '.join(found)}")
    if plot:
        write_output(plot, _plotted(runs, plot.suffix.lower()[1:]))
        click.echo(f"plot: {plot}")


def _table(runs: Sequence[comparison.Run]) -> Iterable[str]:
    settings, results = comparison.differing(runs), comparison.results(runs)
    rows = [["", *_short_names(runs)]]
    rows += [[name, *map(_setting, values)] for name, values in settings.items()]
    rows += [[name, *map(_result, values)] for name, values in results.items()]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for k, row in enumerate(rows):
        if k == 1:
            yield "settings" if settings else "no setting differs"
        if k == 1 + len(settings):
            yield "results"
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:])]
        yield f"  {row[0]:<{widths[0]}}  {'  '.join(cells)}".rstrip()


def _short_names(runs: Sequence[comparison.Run]) -> list[str]:
    """The folders' own names, or all that was given where these do not tell them apart."""
    names = [Path(run.name).resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [run.name for run in runs]


def _setting(value: Any) -> str:
    text = "-" if value is None else str(value).replace(" ", "")
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _result(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _plotted(runs: Sequence[comparison.Run], form: str) -> bytes:
    # Loaded here: it takes a second, and only this needs it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    for axes, name in zip(figure.subplots(2, 2).flat, comparison.PLOTTED):
        for label, run in zip(_short_names(runs), runs):
            points = [(tick["kimg"], tick.get(name, math.nan)) for tick in run.ticks]
            axes.plot(*zip(*points), label=label, linewidth=1.2)
        axes.set(title=name, xlabel="kimg", yscale="log" if name == "r1" else "linear")
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=120, metadata=_undated(form))
    return buffer.getvalue()


def _undated(form: str) -> Mapping[str, None]:
    """Without the time, equal runs give equal files."""
    return {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})
