"""Make a page of one file that plays how a toy run learned, from the page that the service shows."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import click

from models import toy_recording
from models.cli import PATH, write_output

PAGE_FILE = "lab.html"
_ICON = "icon.svg"
_STYLE = re.compile(r'<link rel="stylesheet" href="([\w./]+)">')
_SCRIPT = re.compile(r'<script type="module" src="([\w./]+)"></script>')
_IMPORT = re.compile(r"^import \{[^}]*\} from '\./([\w.]+)';\n", re.MULTILINE)
_NAVIGATION = re.compile(r"<nav.*?</nav>", re.DOTALL)


@click.command(
    epilog="\b\nExample:\n  ganmint lab runs/toy25",
)
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, help="The page to write. Default: RUN/lab.html.")
def lab(run: Path, out: Path | None) -> None:
    """Make a page that plays how a run of toy data learned.

    RUN is a run folder of preset toy25, triangles or toy1d; its lab.json has the recording. The page is one file that
    needs no server. GET /play/lab of the service shows recordings that came with Ganmint.
    """
    out = out or run / PAGE_FILE
    recording = toy_recording.read(run / toy_recording.FILE_NAME)
    write_output(out, make_page(recording).encode())
    click.echo(f"{out}: {len(recording.ticks)} ticks; open it in a browser")


def make_page(recording: toy_recording.Recording) -> str:
    """Return the page with its styles, its scripts and one recording inside."""
    page = _NAVIGATION.sub("", _read(f"lab/{PAGE_FILE}")).replace('<h1><a href="../">', "<h1><a>")
    page = _STYLE.sub(lambda match: f"<style>\n{_read(match[1])}</style>", page)
    page = page.replace(_ICON, f"data:image/svg+xml,{quote(_read(_ICON))}")
    # Whatever a title says, it cannot end the element.
    content = recording.model_dump_json().replace("<", "\\u003c")
    data = f'<script type="application/json" id="recordings">{content}</script>'
    return _SCRIPT.sub(lambda match: f'{data}\n<script type="module">\n{_inline(match[1])}</script>', page)


def _inline(name: str) -> str:
    """Return a script with what it imports before it."""
    script = _read(name)
    imported = "".join(_read(f"lab/{match[1]}").replace("\nexport ", "\n") for match in _IMPORT.finditer(script))
    return imported + _IMPORT.sub("", script)


def _read(name: str) -> str:
    return (resources.files("service") / "static" / "play" / name).read_text("utf-8")
