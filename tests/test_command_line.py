"""The command line: exit codes, refusals in words, help that is true. Never a stack trace."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from PIL import Image

import ganmint
from ganmint.cli import COMMANDS as SUBCOMMANDS
from ganmint.cli import cli, main
from models import signing, store
from models.marks import read_address
from models.runtime import processor
from models.runtime.loading import RUNTIME_VARIABLE
from tests.conftest import Command
from tests.signing_keys import make_key_pair
from tests.waiting import TIMEOUT_S
from training.evaluation.classifier import Recipe
from training.evaluation.protocol import STANDARD

REPOSITORY = Path(ganmint.__file__).parent.parent
TINY = (
    "generator.base=4",
    "generator.widths=[8, 4]",
    "discriminator.base=4",
    "discriminator.widths=[8, 4]",
    "batch=16",
    "z_dim=8",
    "threads=1",
    "tick_kimg=0.064",
    "total_kimg=0.128",
    "schedule_kimg=0.128",
)
SETTINGS = tuple(part for assignment in TINY for part in ("--set", assignment))


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """A training run sets torch's threads and determinism for its whole process; undo that."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("default")


@pytest.fixture(autouse=True)
def speed_measured_in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here asks how exactly the speed of a training was measured."""
    monkeypatch.setattr("training.commands.train.MEASURE_S", 0.01)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """256 grey 8x8 images in 3 classes, as an npz."""
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    images = np.random.RandomState(0).randint(0, 256, (256, 8, 8)).astype(np.uint8)
    np.savez(path, images=images, labels=np.arange(256) % 3)
    return path


@pytest.fixture(scope="module")
def published(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one model, tiny 1.0.0, made by the commands themselves; copy it before changing it."""
    folder = tmp_path_factory.mktemp("published")
    train = ("train", "--preset", "digits", "--data", str(data), "--out", str(folder / "run"), *SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder / "store"))
        for arguments in (
            train,
            ("publish", str(folder / "run"), "--name", "tiny", "--batch-size", "4", "--accept", "a test"),
        ):
            patch.setattr(sys, "argv", ["ganmint", *arguments])
            with pytest.raises(SystemExit) as caught:
                main()
            assert not caught.value.code
    return folder / "store"


@pytest.fixture(autouse=True)
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def models(published: Path, empty_store: Path) -> Path:
    """The test's own copy of the store with tiny 1.0.0 in it."""
    shutil.copytree(published, empty_store)
    return empty_store


@pytest.fixture
def tampered(models: Path) -> Path:
    """The store after one byte of the TorchScript file was changed."""
    script = models / "models" / "tiny" / "1.0.0" / "generator.ts"
    content = bytearray(script.read_bytes())
    content[len(content) // 2] ^= 1
    script.write_bytes(content)
    return script


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ganmint", *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=TIMEOUT_S
    )


@pytest.mark.slow
def test_the_real_program_ends_with_the_code_of_what_happened(tampered: Path, tmp_path: Path) -> None:
    """130 is in tests/training/runs/test_loop.py, where a real run is interrupted."""
    done = program("models", "list", "--json")
    failed = program("models", "verify", "tiny")
    misused = program("train", "--preset", "nosuch", "--out", str(tmp_path / "run"))

    assert (done.returncode, failed.returncode, misused.returncode) == (0, 1, 2)
    assert [row["name"] for row in json.loads(done.stdout)] == ["tiny"]
    assert failed.stderr.startswith(f"Error: {tampered}: does not have the hash")
    assert misused.stderr.startswith("Error: --preset: no preset 'nosuch'")
    assert "Traceback" not in done.stderr + failed.stderr + misused.stderr


def every_command() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}

    def walk(path: str, command: click.Command) -> None:
        found[path] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                walk(f"{path} {name}".strip(), child)

    walk("", cli)
    return found


COMMANDS = every_command()


@pytest.mark.parametrize("path", [path for path, c in COMMANDS.items() if not isinstance(c, click.Group)])
def test_help_has_an_example_and_shows_only_options_that_exist(path: str, command: Command) -> None:
    result = command(*path.split(), "--help")

    assert result.code == 0
    assert re.search(r"Examples?:\n {4}ganmint ", result.output)
    shown = [parameter for parameter in COMMANDS[path].params if not getattr(parameter, "hidden", False)]
    real = {option for parameter in shown for option in (*parameter.opts, *parameter.secondary_opts)}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", result.output)) <= real | {"--help"}
    assert {option for option in real if option.startswith("--")} <= set(
        re.findall(r"--[a-z][a-z0-9-]*", result.output)
    )


@pytest.mark.parametrize("path", list(COMMANDS))
def test_help_describes_every_option(path: str) -> None:
    options = [parameter for parameter in COMMANDS[path].params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help and not option.hidden] == []


@pytest.mark.parametrize(
    "path",
    ["sample", "walk", "project", "export", "verify", "sign-images", "models verify", "dataset verify", "serve"],
)
def test_help_names_the_variables_that_decide_how_a_model_is_loaded(path: str, command: Command) -> None:
    output = command(*path.split(), "--help").output
    for name in (RUNTIME_VARIABLE, signing.REQUIRE_VARIABLE, signing.KEY_VARIABLE):
        assert f"  {name}=" in output.partition("Environment variables:")[2]


@pytest.mark.parametrize("path", list(COMMANDS))
def test_the_short_form_of_help_works_everywhere(path: str, command: Command) -> None:
    assert command(*path.split(), "-h").output == command(*path.split(), "--help").output


@pytest.mark.parametrize("path", list(COMMANDS))
def test_usage_names_the_program_as_the_user_calls_it(path: str, command: Command) -> None:
    assert command(*path.split(), "--help").output.startswith(f"Usage: ganmint {path}".rstrip() + " [OPTIONS]")


@pytest.mark.parametrize("path", [path for path, c in COMMANDS.items() if isinstance(c, click.Group)])
def test_no_short_help_is_cut(path: str, command: Command) -> None:
    assert "..." not in command(*path.split(), "--help").output.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("arguments", "modules"),
    [
        (("--help",), ("torch", "bentoml", "numpy", "pydantic", "PIL")),
        (("models", "list"), ("torch", "bentoml", "safetensors")),
        (("sample", "--help"), ("torch", "bentoml", "safetensors")),
    ],
    ids=" ".join,
)
def test_a_command_imports_only_what_it_needs(arguments: tuple[str, ...], modules: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom ganmint.cli import main\n"
        "try:\n    main()\nfinally:\n    print('imported:', *set(sys.modules), file=sys.stderr)"
    )
    script = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(script, cwd=REPOSITORY, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0
    assert not set(modules) & set(done.stderr.split())


def examples() -> list[str]:
    lines = "\n".join(command.epilog or "" for command in COMMANDS.values()).splitlines()
    return [line.strip() for line in lines if line.strip().startswith("ganmint ")]


@pytest.mark.parametrize("line", examples())
def test_every_example_is_accepted_by_the_parser(line: str) -> None:
    arguments = shlex.split(line)[1:]
    path = max((p for p in COMMANDS if arguments[: len(p.split())] == p.split()), key=len)
    assert path

    COMMANDS[path].make_context(path, arguments[len(path.split()) :])


def test_the_version_is_the_packages(command: Command) -> None:
    assert "0.1.0" in command("--version").output


@pytest.mark.parametrize(
    "arguments", [("--nosuch",), ("train", "--nosuch"), ("nosuch",), ("models", "nosuch"), ("sample",), ("train",), ()]
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], command: Command) -> None:
    result = command(*arguments)

    assert result.code == 2
    assert "Usage: " in result.errors
    assert result.output == ""


def test_interrupting_ends_with_130(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    def interrupted() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "list_names", interrupted)

    assert command("models", "list").code == 130


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--preset", "nosuch"), 2, "--preset: no preset 'nosuch'; there are dcgan, digits"),
        ((), 2, "--preset: give one of dcgan, digits"),
        (("--data", "{data}"), 2, "--data: its images are 8x8"),
        (("--preset", "digits"), 2, "--data: preset digits needs data"),
        (("--preset", "toy1d", "--data", "x"), 2, "--data: preset toy1d makes its own data"),
        (("--preset", "digits", "--data", "/nosuch"), 1, "/nosuch: does not exist"),
        (("--preset", "digits", "--data", "{broken}"), 1, "{broken}: is not a readable npz file"),
        (("--preset", "digits", "--data", "{text}"), 1, "{text}: is not a data set"),
        (
            ("--preset", "digits", "--data", "{data}"),
            2,
            "--data: the networks make 28x28 images",
        ),
        (("--preset", "toy1d", "--set", "batch=many"), 2, "batch: must be a whole number, got 'many'"),
        (("--preset", "toy1d", "--set", "nosuch=1"), 2, "nosuch: there is no such setting"),
        (("--preset", "toy1d", "--set", "batch"), 2, "--set: expected NAME=VALUE, got 'batch'"),
        (("--preset", "toy1d", "--device", "nosuch"), 2, "--device: 'nosuch' cannot be used"),
    ],
)
def test_train_refuses_in_words(
    arguments: tuple[str, ...], code: int, words: str, command: Command, data: Path, tmp_path: Path
) -> None:
    paths = {"{data}": data, "{broken}": tmp_path / "broken.npz", "{text}": tmp_path / "notes.txt"}
    paths["{broken}"].write_bytes(data.read_bytes()[:1000])
    paths["{text}"].write_text("hello")
    for mark, path in paths.items():
        arguments, words = tuple(a.replace(mark, str(path)) for a in arguments), words.replace(mark, str(path))

    result = command("train", "--out", str(tmp_path / "run"), *arguments)

    assert result.code == code
    assert result.errors.startswith(f"Error: {words}")
    assert not (tmp_path / "run").exists() or files(tmp_path / "run") in ([], [".lock"])


def test_without_a_preset_one_is_chosen_by_the_images_shape(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.commands.train.measure_rate", lambda *_: 100.0)
    digits = str(Path(__file__).parent / "data" / "digits")

    result = command("train", "--data", digits, "--out", str(tmp_path / "run"), "--set", "seed=3", "--dry-run")

    assert result.code == 0
    assert "# preset: own, by the images' shape" in result.output
    assert "preset: own" in result.output and "seed: 3" in result.output


def test_train_refuses_a_device_that_this_machine_lacks(command: Command, tmp_path: Path) -> None:
    device = f"cuda:{torch.cuda.device_count()}"

    result = command("train", "--preset", "toy1d", "--out", str(tmp_path / "run"), "--device", device)

    assert result.code == 2
    assert result.errors.startswith(f"Error: --device: '{device}' cannot be used")


def test_an_out_that_is_a_file_is_refused_in_words(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    result = command("train", "--preset", "toy1d", "--set", "total_kimg=1", "--out", str(tmp_path / "file"))

    assert result.code in (1, 2)
    assert str(tmp_path / "file") in result.errors


def test_a_folder_of_other_files_is_refused_before_the_data_are_read(command: Command, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    result = command("train", "--preset", "digits", "--data", "/nosuch", "--out", str(tmp_path))

    assert result.code == 1
    assert "is not empty and holds no run (found thesis.txt); choose another --out" in result.errors


def test_an_out_that_cannot_be_written_is_named_with_the_reason(
    command: Command, tiny_artifact: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "out"
    command("models", "install", str(tiny_artifact))

    picture = command("sample", "tiny", "--out", str(out.with_suffix(".png")))
    files = command("sample", "tiny", "--out", str(out))
    export = command("export", "tiny", "--count", "3", "--format", "npz", "--device", "cpu", "--out", str(out))

    for result in (picture, files, export):
        assert result.code == 1
        assert str(out) in result.errors and "cannot be written: " in result.errors
        assert "; choose another --out" in result.errors


def test_a_dry_run_prints_what_it_resolved_and_writes_nothing(command: Command, data: Path, tmp_path: Path) -> None:
    result = command(
        "train",
        "--preset",
        "digits",
        "--data",
        str(data),
        "--out",
        str(tmp_path / "run"),
        "--dry-run",
        "--device",
        "cpu",
        *SETTINGS,
        "--set",
        "seed=17",
    )

    assert result.code == 0
    assert re.search(r"# networks: generator [\d,]+, discriminator [\d,]+, encoder [\d,]+ weights", result.output)
    assert re.search(r"# a step needs about \d+\.\d GiB of memory", result.output)
    assert re.search(r"# speed: \S+ images/s, \S+ s per kimg; 0.128 kimg take about \d+m\d\ds", result.output)
    assert "seed: 17" in result.output and "total_kimg: 0.128" in result.output
    assert "256 samples of 1x8x8, 3 classes, sha256 " in result.output
    assert "# device: cpu" in result.output and f"# out: {tmp_path / 'run'}" in result.output
    assert files(tmp_path) == [] and not (tmp_path / "run").exists()
    # The preset's name and licence are those of other data.
    assert "MNIST" not in result.output and "CC BY-SA" not in result.output


@pytest.mark.parametrize(("flags", "is_warned"), [("avx2", True), ("avx2 avx512_bf16", False)])
def test_train_says_that_the_processor_only_imitates_bfloat16(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, is_warned: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : fpu {flags}\n")
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("training.commands.train.measure_rate", lambda *_: 100.0)

    digits = str(Path(__file__).parent / "data" / "digits")
    place = ("--data", digits, "--out", str(tmp_path / "run"), "--device", "cpu")
    result = command("train", "--preset", "digits", *place, "--dry-run", "--set", "precision=bfloat16")

    assert ("--set precision=float32" in result.output) == is_warned


def test_a_toy_trains_from_end_to_end_and_again_does_nothing(command: Command, tmp_path: Path) -> None:
    arguments = (
        "train",
        "--preset",
        "toy1d",
        "--out",
        str(tmp_path / "run"),
        "--device",
        "cpu",
        "--set",
        "total_kimg=1",
        "--set",
        "tick_kimg=0.512",
    )
    first = command(*arguments)
    before = files(tmp_path / "run")
    second = command(*arguments)

    assert first.code == second.code == 0
    assert "# data: toy1d, 65536 samples of 1x1x1, no labels" in first.output
    assert "this run ends at 1; --set schedule_kimg=1 fits them to it" in first.output
    assert "0.512/1 kimg" in first.output and "1.024/1 kimg" in first.output and "Next" not in first.output
    # 256 images a batch: the first at or above 1000.
    assert "checkpoint-000000001024.pt" in before and "grids/000000001024.png" in before
    assert "already trained to 1.024 kimg; nothing to do" in second.output
    assert files(tmp_path / "run") == before
    origin = json.loads((tmp_path / "run" / "run.json").read_text())
    assert origin["command"] == shlex.join(["ganmint", *arguments])


@pytest.mark.parametrize(("kimg", "is_measured"), [("0.512", False), ("0.768", True)])
def test_a_run_of_no_more_steps_than_would_be_measured_begins_at_once(
    kimg: str, is_measured: bool, command: Command, tmp_path: Path
) -> None:
    result = command("train", "--preset", "toy1d", "--out", str(tmp_path / "run"), "--set", f"total_kimg={kimg}")

    assert result.code == 0
    assert ("# speed: " in result.output) == is_measured


def test_what_train_suggests_next_can_be_done(command: Command, data: Path, published: Path) -> None:
    run = str(published.parent / "run")
    trained = command("train", "--preset", "digits", "--data", str(data), "--out", run, *SETTINGS)
    suggested = trained.output.splitlines()[-1].removeprefix("Trained. Next: ganmint ")

    assert suggested == f"publish {run} --name run --data {data}"
    # Without an evaluation, which takes long.
    in_short = suggested.replace(f"--data {data}", "--batch-size 4 --accept 'a test'")
    assert command(*shlex.split(in_short)).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nosuch", "--name", "tiny"), 1, "nosuch: holds no run"),
        (("nosuch", "--name", "Not A Name"), 2, "--name: 'Not A Name' is not a model name"),
        (("nosuch", "--name", "tiny", "--version", "one"), 2, "--version: 'one' is not a version"),
    ],
)
def test_publish_refuses_in_words(arguments: tuple[str, ...], code: int, words: str, command: Command) -> None:
    result = command("publish", *arguments)

    assert result.code == code
    assert result.errors.startswith(f"Error: {words}")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nosuch",), 2, "--data: real images to compare with are needed"),
        (("nosuch", "--data", "{data}"), 1, "there is no model 'nosuch'; there are: tiny"),
        (("Not A Name", "--data", "{data}"), 2, "RUN-or-MODEL: 'Not A Name' is not a model name"),
        (("tiny/9.0.0", "--data", "{data}"), 1, "there is no version 9.0.0 of 'tiny'"),
        (("{empty}", "--data", "{data}"), 2, "RUN-or-MODEL: {empty} holds neither a run (config.yaml) nor an artifact"),
        (("{begun}", "--data", "{data}"), 1, "{begun}: has no checkpoint yet: no tick was finished"),
        (("tiny", "--data", "/nosuch"), 1, "/nosuch: does not exist"),
        (("tiny", "--data", "{data}", "--inception", "/no.pth"), 1, "/no.pth: does not exist; download the file that"),
        (("tiny", "--data", "{data}", "--device", "nosuch"), 2, "--device: 'nosuch' cannot be used"),
    ],
)
def test_evaluate_refuses_in_words(
    arguments: tuple[str, ...], code: int, words: str, models: Path, data: Path, tmp_path: Path, command: Command
) -> None:
    paths = {"{data}": data, "{empty}": tmp_path / "empty", "{begun}": tmp_path / "begun"}
    for name in ("{empty}", "{begun}"):
        paths[name].mkdir()
    (paths["{begun}"] / "config.yaml").write_text("preset: digits")
    for mark, path in paths.items():
        arguments, words = tuple(a.replace(mark, str(path)) for a in arguments), words.replace(mark, str(path))

    result = command("evaluate", *arguments)

    assert (result.code, result.errors[: len(words) + 7]) == (code, f"Error: {words}")
    assert not (tmp_path / "evaluations").exists()


@pytest.mark.slow
def test_evaluate_prints_the_table_and_writes_the_report(
    models: Path, data: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANMINT_CACHE", str(tmp_path / "cache"))
    quick = STANDARD.model_copy(update={"classifier": Recipe(width=8, features=16, epochs=1, min_images_shown=0)})
    monkeypatch.setattr("training.commands.evaluate.STANDARD", quick)
    arguments = ("evaluate", "tiny", "--data", str(data), "--device", "cpu", "--out")
    first, second = (command(*arguments, str(tmp_path / name)) for name in ("first", "second"))

    assert first.code == second.code == 0, first.errors
    assert re.search(r"^GAN-train +\d+\.\d\d%.* \d+\.\d\d%.* higher", first.output, re.MULTILINE)
    assert re.search(r"^Gate: (passed$|not passed\n  \w)", first.output, re.MULTILINE)
    assert "came from the cache" not in first.output and "came from the cache" in second.output
    assert files(tmp_path / "first") == ["report.html", "report.json"]
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("first", "second")]
    assert reports[0]["figures"] == reports[1]["figures"] and reports[0]["verdict"] == reports[1]["verdict"]


def test_evaluate_measures_a_toy_run_against_its_own_data(command: Command, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    command("train", "--preset", "toy1d", "--out", run, "--set", "total_kimg=0.256")

    result = command("evaluate", run)

    assert result.code == 0, result.errors
    assert re.search(r"^error of the mean +\d+\.\d\d%", result.output, re.MULTILINE)
    assert "Gate: not passed\n  error of the mean" in result.output
    assert (tmp_path / "run" / "evaluation" / "report.html").is_file()
    assert command("evaluate", run, "--data", "x").errors.startswith("Error: --data: ")


def test_publish_without_data_is_refused_unless_accepted(command: Command, published: Path) -> None:
    result = command("publish", str(published.parent / "run"), "--name", "other")

    assert result.code == 1
    assert "was not evaluated" in result.errors and "--accept" in result.errors


@pytest.mark.parametrize("to_folder", [False, True])
def test_what_publish_suggests_next_serves_the_model(
    to_folder: bool, command: Command, published: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "a folder"
    arguments = ("--name", "mine", "--batch-size", "4", "--accept", "a test")
    to = ("--to", str(folder)) if to_folder else ()
    first = command("publish", str(published.parent / "run"), *arguments, *to)

    assert first.code == 0, first.errors
    suggested = first.output.splitlines()[-1].removeprefix("Next: ")
    if not to_folder:
        assert suggested == "GANMINT_MODELS=mine ganmint serve"
        return
    installed = command(*shlex.split(suggested)[1:])
    assert installed.code == 0 and installed.output.startswith("mine 1.0.0 is in the store")


def test_where_signatures_are_required_publish_suggests_to_sign(
    command: Command, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_key, public_key = make_key_pair(tmp_path / "keys")
    monkeypatch.setenv("GANMINT_REQUIRE_SIGNED", "1")
    monkeypatch.setenv("GANMINT_PUBLIC_KEY", str(public_key))
    run = str(published.parent / "run")
    result = command("publish", run, "--name", "mine", "--batch-size", "4", "--accept", "a test")

    assert result.code == 0, result.errors
    suggested = result.output.splitlines()[-1].removeprefix("Next: ganmint ").replace("KEY.pem", str(private_key))
    assert command(*shlex.split(suggested)).output.startswith("Signed mine 1.0.0 ")


def test_models_are_listed_and_shown(models: Path, command: Command) -> None:
    listed, as_json = command("models", "list"), command("models", "list", "--json")
    shown, manifest = command("models", "show", "tiny"), command("models", "show", "tiny/1.0.0", "--json")

    assert {listed.code, as_json.code, shown.code, manifest.code} == {0}
    assert re.search(r"tiny +1\.0\.0 +8x8 +3 ", listed.output)
    assert json.loads(as_json.output)[0]["path"] == str(models / "models" / "tiny" / "1.0.0")
    assert json.loads(manifest.output) == json.loads(
        (models / "models" / "tiny" / "1.0.0" / "manifest.json").read_text()
    )
    assert "0.128 kimg" in shown.output and "not stated" in shown.output


def test_an_empty_store_is_told_as_such(command: Command) -> None:
    assert "Install the bundled models" in command("models", "list").output
    assert json.loads(command("models", "list", "--json").output) == []


@pytest.mark.parametrize("action", [("models", "show"), ("models", "verify"), ("sample", "--out", "x.png")])
@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ("nosuch", 1, "there is no model 'nosuch'; there are: tiny"),
        ("tiny/9.0.0", 1, "there is no version 9.0.0 of 'tiny'; there are: 1.0.0"),
        ("tiny/x", 2, "MODEL: 'x' is not a version"),
        ("../tiny", 2, "MODEL: '..' is not a model name"),
        ("", 2, "MODEL: '' is not a model name"),
    ],
)
def test_an_unknown_model_is_refused_with_those_there_are(
    models: Path, action: tuple[str, ...], model: str, code: int, words: str, command: Command
) -> None:
    result = command(*action, model)

    assert result.code == code
    assert result.errors.startswith(f"Error: {words}")


def test_a_whole_model_verifies_by_name_version_and_folder(models: Path, command: Command) -> None:
    for model in ("tiny", "tiny/1.0.0", str(models / "models" / "tiny" / "1.0.0")):
        result = command("models", "verify", model, "--device", "cpu")

        assert result.code == 0
        assert "tiny 1.0.0: 6 files have the hashes" in result.output
        assert "goldens match to 0 of 255" in result.output


@pytest.mark.parametrize("arguments", [("models", "verify", "tiny"), ("sample", "tiny", "--out", "{out}")])
def test_a_tampered_model_is_neither_loaded_nor_sampled(
    tampered: Path, arguments: tuple[str, ...], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.jit, "load")

    result = command(*(a.replace("{out}", str(tmp_path / "out.png")) for a in arguments))

    assert result.code == 1
    assert result.errors.startswith(f"Error: {tampered}: does not have the hash that manifest.json names")
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1", b"\xff\xfe"])
def test_a_damaged_card_is_refused_by_its_files_name(models: Path, damage: bytes, command: Command) -> None:
    manifest = models / "models" / "tiny" / "1.0.0" / "manifest.json"
    manifest.write_bytes(damage)

    for arguments in (("models", "verify", "tiny"), ("models", "show", "tiny"), ("models", "list")):
        result = command(*arguments)
        assert result.code == 1
        assert result.errors.startswith(f"Error: {manifest}: is not a valid manifest")


def test_a_damaged_model_does_not_hide_the_others(models: Path, command: Command) -> None:
    """Two of them, one before and one behind the good one."""
    good = models / "models" / "tiny"
    bad = [models / "models" / name / "1.0.0" for name in ("aaa", "zzz")]
    for folder in bad:
        shutil.copytree(good / "1.0.0", folder)
        (folder / "manifest.json").write_text("{}")

    for action, words in (("list", r"tiny +1\.0\.0"), ("verify", "goldens match to 0 of 255")):
        result = command("models", action)
        assert result.code == 1
        assert re.search(words, result.output)
        assert [line.partition(": is not")[0] for line in result.errors.splitlines()] == [
            f"Error: {folder}/manifest.json" for folder in bad
        ]


@pytest.mark.parametrize("arguments", [("models", "verify", "tiny"), ("sample", "tiny", "--out", "x.png")])
@pytest.mark.parametrize("device", ["nosuch", "cuda:99"])
def test_an_unusable_device_is_refused_by_name(
    models: Path, arguments: tuple[str, ...], device: str, command: Command
) -> None:
    result = command(*arguments, "--device", device)

    assert result.code == 2
    assert result.errors.startswith(f"Error: --device: '{device}' cannot be used")


@pytest.mark.parametrize("place", ["bert.base/abc/model.yaml", "other/lqgn3pwpng/manifest.json"])
def test_other_models_in_the_store_are_passed_over(models: Path, place: str, command: Command) -> None:
    """BentoML allows dots in names and makes up versions of letters."""
    path = models / "models" / place
    path.parent.mkdir(parents=True)
    path.write_text("{}")

    result = command("models", "list", "--json")

    assert result.code == 0
    assert [row["name"] for row in json.loads(result.output)] == ["tiny"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--seed", "-1"), "--seed"),
        (("--seed", str(2**53)), "--seed"),
        (("--index", "-1"), "--index"),
        (("--index", str(2**53 - 1), "--count", "2"), "--index"),
        (("--count", "0"), "--count"),
        (("--count", "-5"), "--count"),
        (("--labels", "3"), "--labels"),
        (("--labels", "-1"), "--labels"),
        (("--labels", "0,1,3", "--count", "3"), "--labels[2]"),
        (("--labels", "0,1", "--count", "3"), "--labels"),
        (("--labels", "one"), "--labels"),
        (("--labels", ""), "--labels"),
        (("--psi", "0"), "--psi"),
        (("--psi", "1.01"), "--psi"),
        (("--psi", "nan"), "--psi"),
    ],
)
def test_sample_refuses_a_value_out_of_range_by_name(
    models: Path, arguments: tuple[str, ...], field: str, command: Command, tmp_path: Path
) -> None:
    result = command("sample", "tiny", "--out", str(tmp_path / "out"), *arguments)

    assert result.code == 2
    assert result.errors.startswith(f"Error: {field}: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--seed", "one"), ("--count", "1.5"), ("--format", "gif"), ("--psi", "half")])
def test_sample_refuses_what_is_no_value_at_all(models: Path, option: tuple[str, str], command: Command) -> None:
    result = command("sample", "tiny", "--out", "x", *option)

    assert result.code == 2
    assert option[0] in result.errors


def test_the_far_corner_of_the_address_space_is_sampled(models: Path, command: Command, tmp_path: Path) -> None:
    last = str(2**53 - 1)

    result = command("sample", "tiny", "--seed", last, "--index", last, "--out", str(tmp_path / "out.png"))

    assert result.code == 0
    assert f"tiny/1.0.0/{last}/{last}" in result.output


def test_sampling_again_writes_the_same_bytes(models: Path, command: Command, tmp_path: Path) -> None:
    for name in ("a", "b"):
        result = command("sample", "tiny", "--seed", "7", "--count", "6", "--out", str(tmp_path / name))
        assert result.code == 0

    assert [re.sub("label=[0-2]", "label=N", name) for name in files(tmp_path / "a")] == [
        f"tiny_1.0.0_7_{index}_label=N.png" for index in range(6)
    ]
    for name in files(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_files_of_another_label_or_psi_have_other_names(models: Path, command: Command, tmp_path: Path) -> None:
    for options in (("--labels", "0"), ("--labels", "1"), ("--labels", "1", "--psi", "0.5")):
        assert command("sample", "tiny", "--seed", "7", *options, "--out", str(tmp_path / "out")).code == 0

    names = ["tiny_1.0.0_7_0_label=0.png", "tiny_1.0.0_7_0_label=1.png", "tiny_1.0.0_7_0_label=1_psi=0.5.png"]
    assert files(tmp_path / "out") == names


def test_a_file_whose_address_is_longer_than_names_may_be_is_named_after_its_hash(
    models: Path, command: Command, tmp_path: Path
) -> None:
    *_, longest = json.loads((REPOSITORY / "tests" / "data" / "address_vectors.json").read_text())["file_names"]

    assert len(longest["address"]) > 255
    assert command("sample", longest["address"], "--out", str(tmp_path / "out")).code == 0
    assert files(tmp_path / "out") == [f"{longest['name']}.png"]


def test_the_class_of_the_other_end_is_asked_for_by_name(tiny_artifact: Path, command: Command, tmp_path: Path) -> None:
    store.install(tiny_artifact)
    mixture = ("--to", "8.0", "--to-label", "b", "--at", "0.5")
    result = command("sample", "tiny", "--seed", "7", "--labels", "c", *mixture, "--out", str(tmp_path / "one.png"))

    assert "tiny/1.0.0/7/0?label=2&to=8.0&tolabel=1&at=0.5 (c)" in result.output


@pytest.mark.parametrize("name", ["one.PNG", "one.Jpg", "one.webp"])
def test_the_case_of_an_ending_does_not_matter(models: Path, name: str, command: Command, tmp_path: Path) -> None:
    result = command("sample", "tiny", "--out", str(tmp_path / name))

    assert result.code == 0, result.errors
    with Image.open(tmp_path / name) as picture:
        assert picture.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[name[4:].lower()]


def test_an_unknown_ending_is_refused_before_the_model_is_looked_for(command: Command) -> None:
    result = command("sample", "nosuch", "--out", "one.gif")

    assert (result.code, result.errors.count("one.gif is no known picture type")) == (2, 1)


def test_an_image_does_not_depend_on_its_neighbours_nor_on_its_file(
    models: Path, command: Command, tmp_path: Path
) -> None:
    command("sample", "tiny", "--seed", "7", "--count", "6", "--labels", "balanced", "--out", str(tmp_path / "all"))
    command("sample", "tiny", "--seed", "7", "--index", "4", "--labels", "1", "--out", str(tmp_path / "one.png"))

    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "all" / "tiny_1.0.0_7_4_label=1.png").read_bytes()


def test_sample_mints_a_whole_address(models: Path, command: Command, tmp_path: Path) -> None:
    address = "tiny/1.0.0/7/4?label=1&psi=0.5&to=8.0&at=0.25&z2=-1.5"
    edits = ("--psi", "0.5", "--to", "8.0", "--at", "0.25", "--z", "2=-1.5")

    whole = command("sample", address, "--out", str(tmp_path / "whole.png"))
    parts = command("sample", "tiny", "--seed", "7", "--index", "4", "--labels", "1", *edits, "--out", str(tmp_path))
    folder = command("sample", address, "--out", str(tmp_path / "folder"), "--format", "webp")

    assert (whole.code, parts.code, folder.code) == (0, 0, 0)
    assert whole.output == f"Wrote {tmp_path / 'whole.png'}: 1 image beginning with {address}\n"
    name = address.replace("/", "_").replace("?", "_").replace("&", "_")
    assert (tmp_path / "whole.png").read_bytes() == (tmp_path / f"{name}.png").read_bytes()
    assert files(tmp_path / "folder") == [f"{name}.webp"]


def test_sample_mints_a_latent_that_is_written_out(models: Path, command: Command, tmp_path: Path) -> None:
    model = ganmint.load("tiny", device="cpu")
    address = str(model.mint_latents([[0.5] * model.manifest.latents.z_dim], labels=1).addresses[0])

    assert command("sample", address, "--out", str(tmp_path / "one.png")).code == 0

    assert read_address((tmp_path / "one.png").read_bytes()) == address


@pytest.mark.parametrize(
    "option",
    [
        ("--seed", "0"),
        ("--index", "0"),
        ("--count", "1"),
        ("--labels", "1"),
        ("--psi", "1"),
        ("--to", "8.0"),
        ("--to-label", "1"),
        ("--at", "0.5"),
        ("--z", "1=1"),
        ("--direction", "a=1"),
        ("--paste", "0_7.0_0_0_1_1"),
        ("--unit", "0.1=1"),
    ],
)
def test_sample_refuses_beside_an_address_what_the_address_says(
    models: Path, option: tuple[str, str], command: Command, tmp_path: Path
) -> None:
    result = command("sample", "tiny/1.0.0/7/4", *option, "--out", str(tmp_path / "out.png"))

    assert result.code == 2
    assert result.errors.startswith(f"Error: {option[0]}: cannot be given beside an address")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tiny/1.0.0/7", "ADDRESS: 'tiny/1.0.0/7' is not of the form model/version/seed/index"),
        ("tiny?label=1", "ADDRESS: 'tiny?label=1' is not of the form model/version/seed/index"),
        ("tiny/1.0.0/-7/0", "ADDRESS.seed: must be a whole number"),
        ("tiny/1.0.0/7/0?psi=2", "ADDRESS.psi: must be a number above 0"),
        ("tiny/1.0.0/7/0?label=9", "ADDRESS.label: "),
        ("tiny/1.0.0/7/0?label=two%2B", "ADDRESS.label: must be from 0 to 2 (0, 1, 2), got 'two+'; an address has"),
        ("tiny/1.0.0/7/0?dir.nosuch=1", "ADDRESS.dir.nosuch: the directions of tiny 1.0.0 are"),
    ],
)
def test_sample_names_the_part_of_an_address_at_fault(
    models: Path, address: str, words: str, command: Command, tmp_path: Path
) -> None:
    result = command("sample", address, "--out", str(tmp_path / "out.png"))

    assert result.code == 2
    assert result.errors.startswith(f"Error: {words}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--to", "8.0", "--at", "half"), "--at: must be a number such as 0.25"),
        (("--to", "8.0", "--at", "1.5"), "--at: must be above 0 and below 1"),
        (("--to", "8"), "--to: needs --at T"),
        (("--to", "8", "--at", "0.5"), "--to: must be SEED.INDEX"),
        (("--at", "0.5"), "--at: is of no use without --to SEED.INDEX"),
        (("--to-label", "1"), "--to-label: is of no use without --to SEED.INDEX"),
        (("--to", "8.0", "--at", "0.5", "--to-label", "9"), "--to-label: must be from 0 to 2"),
        (("--to", "8.0", "--at", "0.5", "--to-label", "five"), "--to-label: must be from 0 to 2 or a class's name"),
        (("--to", "8.0", "--at", "0.5", "--to-label", "balanced"), "--to-label: must be from 0 to 2 or a class's name"),
        (("--to", "8.0", "--at", "0.5", "--to-label", "0,1"), "--to-label: must be from 0 to 2 or a class's name"),
        (("--to", "8.0", "--at", "0.5", "--to-label", "{age"), "--to-label: is no JSON object"),
        (("--direction", "slant"), "--direction: must be NAME=V such as slant=1.5, got 'slant'"),
        (("--direction", "Slant=1"), "--direction: must be NAME=V such as slant=1.5, got 'Slant=1'"),
        (("--direction", "slant=x"), "--direction slant: must be a number such as 0.25"),
        (("--direction", "slant=0"), "--direction slant: changes nothing"),
        (("--direction", "slant=1"), "--direction slant: the directions of tiny 1.0.0 are: none"),
        (("--z", "12"), "--z: must be K=V such as 12=-1.5, got '12'"),
        (("--z", "one=1"), "--z: must be K=V such as 12=-1.5, got 'one=1'"),
        (("--z", "99=1"), "--z 99: the dimensions of a latent are 0 to 7"),
        (("--paste", "0_7.0"), "--paste: must be L_SEED.INDEX_LABEL_Y0_X0_Y1_X1"),
        (("--unit", "0=1"), "--unit: must be L.U=V such as 2.14=4, got '0=1'"),
        (("--unit", "0.1=x"), "--unit 0.1: must be a number such as 0.25"),
        (("--unit", "0.99=1"), "--unit 0.99: "),
    ],
)
def test_an_edit_that_is_refused_is_named_as_it_was_typed(
    models: Path, options: tuple[str, ...], words: str, command: Command, tmp_path: Path
) -> None:
    result = command("sample", "tiny", *options, "--out", str(tmp_path / "out.png"))

    assert result.code == 2
    assert result.errors.startswith(f"Error: {words}")


@pytest.mark.parametrize("out", ["file", "folder.png", "file/x.png"])
def test_a_place_that_cannot_be_written_is_refused_in_words(
    models: Path, out: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.png").mkdir()

    result = command("sample", "tiny", "--out", str(tmp_path / out))

    assert result.code in (1, 2)
    assert str(tmp_path / out.split("/")[0]) in result.errors


def test_serve_without_a_model_says_how_to_get_one(command: Command) -> None:
    result = command("serve")

    assert result.code == 1
    assert "install the bundled ones with: ganmint models install" in result.errors


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_serve_refuses_a_port_that_is_none(port: str, command: Command) -> None:
    result = command("serve", "--port", port)

    assert result.code == 2
    assert "--port" in result.errors


def test_a_model_is_signed_and_verified_by_key(models: Path, tmp_path: Path, command: Command) -> None:
    private, public = make_key_pair(tmp_path / "keys")
    _, other = make_key_pair(tmp_path / "stranger")
    unsigned = command("models", "verify", "tiny", "--public-key", str(public))
    signed = command("models", "sign", "tiny", "--private-key", str(private))
    good = command("models", "verify", "tiny", "--public-key", str(public))
    wrong = command("models", "verify", "tiny", "--public-key", str(other))

    assert (unsigned.code, signed.code, good.code, wrong.code) == (1, 0, 0, 1)
    assert "is not signed: it has no model.sig" in unsigned.errors
    assert signed.output.startswith("Signed tiny 1.0.0 (")
    assert good.output.startswith(f"tiny 1.0.0: signed by the key of {public}\n")
    assert "is not signed by key.pub" in wrong.errors
    assert "Traceback" not in unsigned.errors + wrong.errors


def test_a_damaged_model_is_not_signed(tampered: Path, tmp_path: Path, command: Command) -> None:
    private, _ = make_key_pair(tmp_path / "keys")

    assert command("models", "sign", "tiny", "--private-key", str(private)).code == 1
    assert not (tampered.parent / "model.sig").exists()


@pytest.mark.parametrize("name", ["data", "models", "dataset", "keys"])
def test_a_group_says_the_same_in_both_helps(name: str, command: Command) -> None:
    assert SUBCOMMANDS[name].short_help in command(name, "--help").output
    assert SUBCOMMANDS[name].short_help in command("--help").output
