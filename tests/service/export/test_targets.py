"""Targets that fail: the command says what failed, keeps what was committed, and a re-run completes.

S3 is moto's server in a process of its own; a tiny proxy before it answers 500 now and then.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import random
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from models import artifact
from models.manifest import Manifest
from service.export.target import Target
from tests.conftest import Command
from tests.live.server import find_free_port
from tests.service.export.conftest import tree
from tests.waiting import TIMEOUT_S, wait_until

BUCKET = "bucket"


@pytest.fixture(scope="module")
def s3_port() -> Iterator[int]:
    """A real S3 server on loopback."""
    pytest.importorskip("moto")
    port = find_free_port()
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _has_bucket(port), "the S3 server runs")
        yield port
    finally:
        server.terminate()
        server.wait(TIMEOUT_S)


def _has_bucket(port: int) -> bool:
    """Make the bucket; False while the server does not listen yet."""
    with (
        contextlib.suppress(OSError),
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection,
    ):
        connection.request("PUT", f"/{BUCKET}")
        return connection.getresponse().status == 200
    return False


@pytest.fixture
def s3(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Credentials, and a way to point at another port."""
    pytest.importorskip("s3fs")
    for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)

    def use(port: int) -> None:
        # fsspec keeps one connection pool per set of options; the environment is none of them.
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")

    use(s3_port)
    return use


def objects(prefix: str, folder: Path) -> dict[str, bytes]:
    """What is below a prefix, fetched by other means than the exporter's."""
    import boto3

    client = boto3.client("s3")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
    found = {}
    for key in (entry["Key"] for page in pages for entry in page.get("Contents", ())):
        client.download_file(BUCKET, key, str(folder / "fetched"))
        found[key.removeprefix(f"{prefix}/")] = (folder / "fetched").read_bytes()
    client.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("format", ["imagefolder", "webdataset", "parquet", "npz", "idx"])
def test_s3_gets_the_bytes_that_a_folder_gets(
    format: str, s3: Callable[[int], None], export: Command, command: Command, tmp_path: Path
) -> None:
    export(tmp_path / "out", format=format)
    url = f"s3://{BUCKET}/{format}"

    first, again = export(url, format=format), export(url, format=format)

    assert first.code == 0, first.errors
    assert again.code == 0 and "3 of 3 shards are committed already" in again.output
    assert objects(format, tmp_path) == tree(tmp_path / "out")
    verified = command("dataset", "verify", url, "--sample", "20", "--device", "cpu")
    assert "20 images minted again: 20 are the same byte for byte" in verified.output
    assert command("dataset", "finish", url).code == 0


@pytest.mark.slow
def test_of_many_that_create_an_object_one_succeeds(s3: Callable[[int], None]) -> None:
    target = Target(f"s3://{BUCKET}/created")
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda k: target.create("job.json", bytes([k])), range(8)))

    assert created.count(True) == 1
    assert target.read("job.json") == bytes([created.index(True)])


@pytest.mark.slow
def test_a_bucket_with_other_things_or_another_job_is_refused(
    s3: Callable[[int], None], export: Command, tmp_path: Path
) -> None:
    url = f"s3://{BUCKET}/refused"
    assert export(url).code == 0

    assert "--seed is 1 there, 2 here" in export(url, "--seed", "2").errors
    assert "is not empty and holds no export" in export(f"s3://{BUCKET}").errors


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_told(s3: Callable[[int], None], export: Command) -> None:
    failed = export("s3://nosuch/out")

    assert failed.code == 1
    assert failed.errors.startswith("Error: s3://nosuch/out") and "bucket" in failed.errors


class Flaky(http.server.BaseHTTPRequestHandler):
    """Passes requests on; answers 500 to writes as `failing` says."""

    upstream: int
    failing: Callable[[], bool]
    failed: int
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command in ("PUT", "POST") and type(self).failing():
            type(self).failed += 1
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=TIMEOUT_S)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        # A HEAD says how long the body would be.
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def flaky(upstream: int, failing: Callable[[], bool]) -> Iterator[tuple[int, type[Flaky]]]:
    handler = type("Handler", (Flaky,), {"upstream": upstream, "failing": staticmethod(failing), "failed": 0})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.slow
def test_an_s3_that_answers_500_now_and_then_is_outlasted(
    s3: Callable[[int], None], s3_port: int, export: Command, tmp_path: Path
) -> None:
    export(tmp_path / "out")
    chance = random.Random(0)
    with flaky(s3_port, lambda: chance.random() < 0.45) as (port, handler):
        s3(port)
        for _ in range(5):
            if export(f"s3://{BUCKET}/flaky").code == 0:
                break
    s3(s3_port)

    assert handler.failed > 0
    assert objects("flaky", tmp_path) == tree(tmp_path / "out")


@pytest.mark.slow
def test_an_s3_that_stays_away_is_told_and_a_rerun_completes(
    s3: Callable[[int], None], s3_port: int, export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    export(tmp_path / "out")
    writes = iter([False] * 5)
    with flaky(s3_port, lambda: next(writes, True)) as (port, _):
        s3(port)
        failed = export(f"s3://{BUCKET}/away")
    s3(s3_port)
    again = export(f"s3://{BUCKET}/away")

    assert failed.code == 1
    assert f"s3://{BUCKET}/away" in failed.errors and "cannot be written" in failed.errors
    assert "1 of 3 shards are committed and kept; run the same command again to go on" in failed.errors
    assert "1 of 3 shards are committed already" in again.output
    assert objects("away", tmp_path) == tree(tmp_path / "out")


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small tmpfs of its own."""
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=False).returncode:
        pytest.skip("this test mounts a file system; it needs root and the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_told_and_a_rerun_with_room_completes(export: Command, tmp_path: Path) -> None:
    export(tmp_path / "calm", count=200, size=50)
    with mounted(tmp_path / "disk", "size=256k") as disk:
        failed = export(disk / "out", count=200, size=50)
        kept = len(list((disk / "out").glob(".ganmint/shards/*")))
        assert not list((disk / "out").glob(".ganmint/aside/*"))
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        again = export(disk / "out", count=200, size=50)

        assert failed.code == 1
        assert "No space left on device" in failed.errors and str(disk / "out") in failed.errors
        assert 0 < kept < 4 and f"{kept} of 4 shards are committed and kept" in failed.errors
        assert again.code == 0 and f"{kept} of 4 shards are committed already" in again.output
        assert tree(disk / "out") == tree(tmp_path / "calm")


def test_a_target_that_turns_read_only_is_told_and_a_rerun_completes(export: Command, tmp_path: Path) -> None:
    export(tmp_path / "calm")
    with mounted(tmp_path / "disk", "size=16m") as disk:
        assert export(disk / "out", "--shard", "1/3").code == 0
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        failed = export(disk / "out")
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        again = export(disk / "out")

        assert failed.code == 1
        assert "Read-only file system" in failed.errors and "1 of 3 shards are committed and kept" in failed.errors
        assert "1 of 3 shards are committed already" in again.output
        assert tree(disk / "out") == tree(tmp_path / "calm")


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("nosuch://bucket/out", 2, "--out: 'nosuch://bucket/out' is no URL that fsspec knows"),
        ("{file}", 1, "is a file, not a folder"),
        ("{file}/below", 1, "{file}/below"),
    ],
)
def test_a_target_that_is_none_is_refused(url: str, code: int, words: str, export: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    file = str(tmp_path / "file")

    refused = export(url.format(file=file))

    assert refused.code == code
    assert words.format(file=file) in refused.errors
    assert tree(tmp_path)["file"] == b"mine"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--shard", "16/16"), "--shard: must be I/N with I from 0 to N - 1"),
        (("--shard", "17/16"), "--shard: must be I/N with I from 0 to N - 1"),
        (("--labels", "3"), "--labels: must be from 0 to 2 (a, b, c), got 3"),
        (("--labels", "0,1"), '--labels: must be one label or "balanced"'),
        (("--psi", "1.5"), "--psi: must be a number above 0 and at most 1"),
        (("--seed", "-1"), "--seed: must be an integer from 0 to 2^53 - 1"),
        (("--index", str(2**53 - 10)), "--index: "),
        (("--count", "0"), "--count: must be at least 1"),
        (("--shard-size", "0"), "--shard-size: must be at least 1"),
        (("--image-format", "webp", "--format", "npz"), "--image-format: npz holds pixels"),
        (("--device", "cuda:99"), "--device: 'cuda:99' cannot be used"),
    ],
)
def test_a_wrong_option_is_refused_and_nothing_is_written(
    more: tuple[str, ...], words: str, export: Command, tmp_path: Path
) -> None:
    refused = export(tmp_path / "out", *more)

    assert refused.code == 2
    assert refused.errors.startswith("Error: ") and words in refused.errors
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_is_refused_with_those_there_are(command: Command, tmp_path: Path) -> None:
    arguments = ("--count", "5", "--format", "npz", "--out", str(tmp_path / "out"))
    unknown = command("export", "nosuch", *arguments)
    version = command("export", "tiny/9.0.0", *arguments)

    assert (unknown.code, version.code) == (1, 1)
    assert "there is no model 'nosuch'; there are: tiny" in unknown.errors
    assert "there is no version 9.0.0 of 'tiny'" in version.errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("export",),
        ("export", "tiny"),
        ("export", "tiny", "--count", "5"),
        ("dataset", "finish"),
        ("dataset", "verify"),
    ],
)
def test_a_missing_argument_is_wrong_usage(arguments: tuple[str, ...], command: Command) -> None:
    assert command(*arguments).code == 2


@pytest.mark.parametrize("name", ["finish", "verify"])
def test_an_old_habit_is_answered_with_the_new_command(name: str, command: Command, tmp_path: Path) -> None:
    refused = command("export", name, str(tmp_path))

    assert refused.code == 2
    assert f"Did you mean: ganmint dataset {name}" in refused.errors


def test_a_model_may_be_called_finish(
    tiny_generator: Any, tiny_manifest: Manifest, tmp_path: Path, command: Command
) -> None:
    artifact.export(
        tiny_generator, tiny_manifest.model_copy(update={"name": "finish"}), tmp_path / "finish", batch_size=4
    )
    assert command("models", "install", str(tmp_path / "finish")).code == 0
    arguments = ("--count", "5", "--device", "cpu", "--format", "npz", "--out", str(tmp_path / "out"))

    assert command("export", "finish", *arguments).code == 0


def test_a_dry_run_prints_the_plan_and_writes_nothing(export: Command, tmp_path: Path) -> None:
    told = export(tmp_path / "out", "--dry-run", "--shard", "0/2")

    assert told.code == 0
    assert "# model: tiny 1.0.0 (" in told.output
    assert "# shards: 3 of up to 20 images, group 0/2: 2 of them" in told.output
    assert "shard 00000: images 0 to 19\nshard 00002: images 40 to 49\n" in told.output
    assert not (tmp_path / "out").exists()


def test_help_lists_options_and_commands(command: Command) -> None:
    export_help = command("export", "--help").output
    dataset_help = command("dataset", "--help").output

    assert export_help.startswith("Usage: ganmint export [OPTIONS] MODEL\n")
    assert "--shard-size" in export_help
    assert "finish  Check an export" in dataset_help and "verify  Check an export" in dataset_help


def test_json_of_an_export_is_readable(export: Command, tmp_path: Path) -> None:
    export(tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.json"):
        json.loads(path.read_text())


@pytest.mark.parametrize("name", ["data [v1]", "a*b", "what?", "{x}", "ünï"])
def test_a_folder_may_have_any_name(name: str, export: Command, command: Command, tmp_path: Path) -> None:
    assert export(tmp_path / "plain").code == 0
    assert export(tmp_path / name).code == 0
    assert tree(tmp_path / name) == tree(tmp_path / "plain")
    assert command("dataset", "verify", str(tmp_path / name), "--sample", "3", "--device", "cpu").code == 0
    assert command("dataset", "finish", str(tmp_path / name)).code == 0


@pytest.mark.parametrize("url", ["{folder}/out", "memory://out-{number}"])
def test_of_many_that_create_a_file_one_succeeds(url: str, tmp_path: Path) -> None:
    target = Target(url.format(folder=tmp_path, number=secrets.token_hex(4)))
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda k: target.create("job.json", bytes([k])), range(8)))

    assert created.count(True) == 1
    assert target.read("job.json") == bytes([created.index(True)])
    assert target.list(".ganmint/aside") == {}
