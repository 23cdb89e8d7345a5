import json
import re
from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganmint.cli import cli
from models import toy_recording
from models.toy_recording import Recording, View
from service.lab import make_page
from service.page_files import list_files

RECORDINGS = [name for name in list_files("play/lab") if name.endswith(".json")]
FOLDER = resources.files("service") / "static" / "play" / "lab"
MAX_BYTES = 400_000


def recorded(name: str) -> Recording:
    return toy_recording.read(Path(str(FOLDER / name)))


def test_the_shipped_recordings_show_what_the_page_says_of_them() -> None:
    names = ("toy25", "toy25-classic", "toy1d", "triangles")
    good, collapsed, line, pictures = (recorded(f"{name}.json") for name in names)

    assert good.ticks[-1].values["modes"] == 25
    assert (collapsed.ticks[-1].values["modes"] or 0) < 13
    assert line.ticks[-1].values["mean"] == pytest.approx(4, abs=0.1)
    assert line.ticks[-1].values["sd"] == pytest.approx(1.25, abs=0.1)
    assert (pictures.ticks[0].values["exact_precision"] or 0) < 0.1
    assert (pictures.ticks[4].values["exact_recall"] or 0) > 0.9
    assert (pictures.ticks[-1].values["exact_precision"] or 0) > 0.3
    sizes = [len((FOLDER / name).read_bytes()) for name in RECORDINGS]
    assert sum(sizes) <= MAX_BYTES


def test_the_page_of_a_run_is_one_file(tmp_path: Path) -> None:
    toy_recording.write(tmp_path / "lab.json", recorded("toy1d.json"))

    # Through the group: click keeps the names of the help option that a command's first caller has.
    result = CliRunner().invoke(cli, ["lab", str(tmp_path)], catch_exceptions=False)

    page = (tmp_path / "lab.html").read_text()
    assert result.output == f"{tmp_path}/lab.html: 40 ticks; open it in a browser\n"
    assert re.findall(r'(?:src|href)="(?!data:)([^"]*)"', page) == []
    assert not re.search(r"^(import|export) ", page, re.MULTILINE)
    embedded = re.search(r'id="recordings">(.*?)</script>', page)
    assert embedded
    assert Recording.model_validate_json(embedded[1]) == recorded("toy1d.json")


def test_a_title_cannot_leave_its_element() -> None:
    title = "</script><script>alert(1)</script>"
    page = make_page(Recording(title=title, view=View(low=0, high=1, dimensions=1), real=""))

    assert title not in page
    assert json.loads(page.split('id="recordings">')[1].split("</script>")[0])["title"] == title
