"""README and docs: every command runs, what is shown is what is printed, and the tables are complete.

Blocks fenced as sh and python run in order, one page in one folder with a model store of its own. A text block right
after one is what it prints; `...` in it stands for anything. Blocks fenced as console are listed below with a reason.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from ganmint.cli import COMMANDS
from models import store
from models.latents import draw_latent
from models.marks import read_address
from service.export.plan import FORMATS
from service.settings import Settings
from tests.conftest import Command
from tests.live.server import NO_TLS, find_free_port, make_environment
from tests.waiting import TIMEOUT_S, wait_until
from training.config_files import list_presets

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = [*PAGES, *ROOT.glob("*.md"), *ROOT.glob("deploy/*.md"), *ROOT.glob("benchmarks/*.md")]
# Commands that do not run here: page and first line -> why.
NOT_RUN = {
    ("getting-started.md", "$ pipx install .            # or: uv tool install ."): "installs into the user's home",
    ("troubleshooting.md", "$ PIP_EXTRA_INDEX_URL=... make serve"): "needs the network",
    (
        "datasets.md",
        "$ ganmint export digits --count 2000 --labels balanced --format webdataset --out signed --c2pa-key key.pem"
        " --c2pa-cert chain.pem",
    ): "needs the key that addresses.md makes",
    ("evaluation.md", "$ ganmint evaluate digits --data path/to/mnist --out report"): "needs MNIST and minutes",
    ("deploying.md", "$ make image IMAGE=ganmint:0.1.0              # VARIANT=cuda for GPUs"): "needs Docker",
    (
        "deploying.md",
        "$ helm install ganmint deploy/helm/ganmint --namespace images --create-namespace \\",
    ): "a cluster",
}
# What a checkout needs for `make serve`; other pages need the data only.
CHECKOUT = (
    "models",
    "service",
    "training",
    "ganmint",
    "Makefile",
    "README.md",
    "pyproject.toml",
    "constraints.txt",
)


@dataclass(frozen=True)
class Block:
    """A fenced block, and what the text block right after it says that it prints."""

    language: str
    code: str
    output: str | None = None

    @property
    def starts_server(self) -> bool:
        return self.language == "sh" and bool(re.search(r" serve( > \S+)?$", self.code.rstrip()))


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order, each output with its command."""
    found: list[Block] = []
    end = 0
    text = page.read_text()
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        language, code = match.groups()
        if language == "text" and found and not text[end : match.start()].strip():
            found[-1] = Block(found[-1].language, found[-1].code, code)
        else:
            found.append(Block(language, code))
        end = match.end()
    return found


def output_pattern(expected: str) -> str:
    """Return a regular expression for an output: `...` is anything, any white space is white space."""
    parts = [re.sub(r"(?:\\?\s)+", r"\\s+", re.escape(part.strip())) for part in expected.strip().split("...")]
    return r"\s*" + ".*?".join(parts) + r"\s*"


class Page:
    """The folder that a page's commands run in, with a model store and at most one service."""

    def __init__(self, folder: Path, home: Path, checkout: bool) -> None:
        self.folder = folder
        self.port = find_free_port()
        self._log = folder.parent / "serve.log"
        self._announces = True
        self._server: subprocess.Popen[bytes] | None = None
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        source = folder if checkout else ROOT
        self._env = {**make_environment(home), "PORT": str(self.port), "PATH": path, "PYTHONPATH": str(source)}

    def run(self, block: Block) -> None:
        """Run a block and compare what it prints."""
        if block.starts_server:
            self._serve(block.code)
            printed = self._log.read_text()
        else:
            if "localhost:3000" in block.code and self._server is None:
                self._serve("ganmint serve")
            printed = self._run(block)
        if block.output is not None:
            printed = printed.replace(f"localhost:{self.port}", "localhost:3000")
            is_same = bool(re.fullmatch(output_pattern(block.output), printed, re.DOTALL))
            assert is_same, f"{block.code}\nprinted\n{printed}\nbut the page shows\n{block.output}"

    def _run(self, block: Block) -> str:
        code = block.code.replace("localhost:3000", f"localhost:{self.port}")
        command = [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
        result = subprocess.run(
            [*command, code],
            cwd=self.folder,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert result.returncode == 0, f"{block.code}\nprinted\n{result.stdout}"
        return result.stdout

    def _serve(self, code: str) -> None:
        self.stop()
        # Else what it announces goes elsewhere.
        self._announces = " > " not in code
        code = code.rstrip().replace("ganmint serve", f"ganmint serve --port {self.port}")
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", code],
                cwd=self.folder,
                env=self._env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._is_ready_or_ended, "the service is ready")
        if self._server.poll() is not None:
            pytest.fail(self._log.read_text())

    def _is_ready_or_ended(self) -> bool:
        if self._server is None or self._server.poll() is not None:
            return True
        with contextlib.suppress(httpx.TransportError):
            url = f"http://127.0.0.1:{self.port}/readyz"
            is_ready = httpx.get(url, timeout=TIMEOUT_S, verify=NO_TLS).status_code == 200
            return is_ready and (not self._announces or "curl" in self._log.read_text())
        return False

    def stop(self) -> None:
        """Stop the service, if one runs."""
        if self._server:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGTERM)
            self._server.wait(TIMEOUT_S)
            self._server = None


@pytest.fixture(scope="session")
def installed_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with the bundled models, to be copied."""
    home = tmp_path_factory.mktemp("docs-store") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        for bundled in store.list_bundled():
            store.install(bundled)
    return home


@contextlib.contextmanager
def opened(page: Path, installed_home: Path, tmp_path: Path) -> Iterator[Page]:
    folder, home = tmp_path / "ganmint", tmp_path / "home"
    shutil.copytree(ROOT / "tests/data", folder / "tests/data")
    checkout = any(block.code.startswith("make serve") for block in blocks(page))
    if checkout:
        _copy_checkout(folder)
    else:
        shutil.copytree(installed_home, home)
    session = Page(folder, home, checkout)
    try:
        yield session
    finally:
        session.stop()


def _copy_checkout(folder: Path) -> None:
    """Copy what `make serve` needs, with the environment of these tests as its .venv."""
    ready = Path(sys.prefix) / ".ready"
    if not ready.exists():
        pytest.skip("the environment was not made by make; the page's commands would make another")
    for name in CHECKOUT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    # Newer than the copied pins, or make would install.
    ready.touch()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "page", [p for p in PAGES if {"sh", "python"} & {b.language for b in blocks(p)}], ids=lambda p: p.name
)
def test_commands_of_a_page_run_and_print_what_it_shows(page: Path, installed_home: Path, tmp_path: Path) -> None:
    with opened(page, installed_home, tmp_path) as session:
        for block in blocks(page):
            if block.language in ("sh", "python"):
                session.run(block)
        for name in ("three.png", "same.png"):
            if (session.folder / name).exists():
                assert read_address((session.folder / name).read_bytes()) == "digits/4.2.0/7/0?label=3"
        sizes = {"grid.png": (224, 224), "six.png": (192, 128), "mine.png": (224, 224)}
        for name, size in sizes.items():
            if (session.folder / name).exists():
                with Image.open(session.folder / name) as picture:
                    assert picture.size == size


def test_commands_that_do_not_run_are_listed_with_a_reason() -> None:
    not_run = {
        (page.name, block.code.splitlines()[0])
        for page in PAGES
        for block in blocks(page)
        if block.language == "console"
    }
    assert not_run == set(NOT_RUN)
    assert {block.language for page in PAGES for block in blocks(page)} == {"sh", "python", "text", "json", "console"}


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a 1\nb", "a   1\nb\n", True),
        ("...\nlast", "last", True),
        ("...\nlast", "first\nlast", True),
        ("x ... z", "x 1.5 z", True),
        ("x ... z", "x 1.5 y", False),
        ("whole", "whole and more", False),
    ],
)
def test_an_output_is_compared_but_for_its_dots(expected: str, printed: str, same: bool) -> None:
    assert bool(re.fullmatch(output_pattern(expected), printed, re.DOTALL)) is same


def test_readme_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", TEXTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)|(?:src)=\"([^\"]+)\"", text):
        target = next(filter(None, link))
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if heading:
            assert heading in headings(linked), f"{page.name} links to {target}"


def headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def unwanted_words() -> list[str]:
    """Return the words of the glossary's last table."""
    table = (ROOT / "docs/glossary.md").read_text().partition("## Words we do not use")[2]
    return [row.split("|")[1].strip() for row in table.splitlines() if row.startswith("|")][2:]


def unwanted(text: str) -> set[str]:
    # "Apart from" is plain English.
    text = text.lower().replace("apart from", "")
    return {word for word in unwanted_words() if re.search(rf"(?<!\w){re.escape(word)}s?(?!\w)", text)}


@pytest.mark.parametrize("page", sorted(set(TEXTS)), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_texts_are_plain_english(page: Path) -> None:
    assert len(unwanted_words()) > 8
    text = page.read_text()
    assert unwanted(text.partition("## Words we do not use")[0]) == set()


def test_help_is_plain_english(command: Command) -> None:
    pending: list[tuple[str, ...]] = [()]
    while pending:
        names = pending.pop()
        text = command(*names, "--help").output
        assert unwanted(text) == set(), f"ganmint {' '.join(names)} --help"
        listed = text.partition("\nCommands:\n")[2]
        pending += [(*names, name) for name in re.findall(r"^  ([a-z]+)", listed, re.MULTILINE)]


def test_golden_vectors_of_the_specification_are_those_of_the_code() -> None:
    text = (ROOT / "docs/addresses.md").read_text().replace("2^53 - 1", "9007199254740991")
    text = text.replace("2^32", str(2**32)).replace("2^40", str(2**40))
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == 6
    for seed, index, values in rows:
        assert [float(v) for v in values.split("|")] == draw_latent(int(seed), int(index), 64)[:4].tolist()


def test_every_setting_metric_preset_and_format_is_documented() -> None:
    serving, training = ((ROOT / "docs" / name).read_text() for name in ("serving.md", "training.md"))
    settings = {f"GANMINT_{name.upper()}" for name in Settings.model_fields} - {"GANMINT_ANNOUNCE_URL"}
    assert {name for name in settings if f"`{name}`" not in serving} == set()
    metrics = re.findall(r'"(ganmint_\w+)"', (ROOT / "service/metrics.py").read_text())
    assert len(metrics) > 10 and {name for name in metrics if name not in serving} == set()
    assert {name for name in list_presets() if f"`{name}`" not in training} == set()
    datasets = (ROOT / "docs/datasets.md").read_text()
    assert {name for name in FORMATS if f"| `{name}` |" not in datasets} == set()


def test_the_command_line_is_documented() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    assert {name for name in COMMANDS if f"ganmint {name}" not in text} == set()
