"""A store attacked while a real service serves it: what each caller sees, and until when."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import chain, groupby
from pathlib import Path

import httpx
import pytest

from models import signing
from models.artifact_files import ONNX_FILE, WEIGHTS
from models.store import StoredModel
from tests.live.server import NO_TLS, run_server
from tests.model_copies import install_copy
from tests.signing_keys import make_key_pair
from tests.waiting import TIMEOUT_S, wait_until

# Seconds between two looks at the store.
POLL_S = float(os.environ.get("GANMINT_TEST_ATTACK_POLL_S", "0.1"))
# Status, and what the body is: a digest, or the version that answered.
Answer = tuple[int, str]


def swap_files(folder: Path) -> None:
    for name in (ONNX_FILE, WEIGHTS):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def remove_signature(folder: Path) -> None:
    (folder / signing.SIGNATURE).unlink()


ATTACKS: dict[str, Callable[[Path], None]] = {
    "swapped": swap_files,
    "unsigned": remove_signature,
    "deleted": shutil.rmtree,
}
CALLERS: dict[str, Callable[[httpx.Client, str], httpx.Response]] = {
    "permanent URL": lambda client, name: client.get(f"/v1/images/{name}/2.0.0/7/0.png"),
    "this version": lambda client, name: client.post("/generate", json={"model": name, "version": "2.0.0", "seed": 7}),
    "no version": lambda client, name: client.post("/generate", json={"model": name, "seed": 7}),
    "card": lambda client, name: client.get(f"/v1/models/{name}/2.0.0"),
    "weights": lambda client, name: client.get(f"/v1/models/{name}/2.0.0/{WEIGHTS}"),
}


class Witness:
    """Asks as every caller, again and again, and keeps what it is answered."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._answers: dict[tuple[str, str], list[Answer]] = defaultdict(list)
        self._first_at: dict[tuple[str, str, Answer], float] = {}

    def ask(self, name: str) -> list[Answer]:
        """Ask for a model as every caller; returns the answers."""
        answers = []
        for caller, request in CALLERS.items():
            response = request(self._client, name)
            body = hashlib.sha256(response.content).hexdigest() if response.status_code == 200 else ""
            if caller == "no version" and response.status_code == 200:
                body = response.json()["version"]
            answer = (response.status_code, body)
            self._answers[name, caller].append(answer)
            self._first_at.setdefault((name, caller, answer), time.monotonic())
            answers.append(answer)
        return answers

    def ask_until_refused(self, name: str) -> None:
        """Ask until every caller's answer has changed, and once more."""
        before = [self._answers[name, caller][0] for caller in CALLERS]
        wait_until(lambda: all(new != old for new, old in zip(self.ask(name), before)), f"{name} is withdrawn")
        self.ask(name)

    def list_changes(self, name: str, caller: str) -> list[Answer]:
        """Return what a caller was answered, without repetitions."""
        return [answer for answer, _ in groupby(self._answers[name, caller])]

    def print_row(self, name: str, attacked_at: float) -> None:
        """Print what each caller saw, and for how long the answer from before the attack."""
        for caller in CALLERS:
            changes = self.list_changes(name, caller)
            ends_s = [self._first_at[name, caller, answer] - attacked_at for answer in changes[1:]]
            status, version = changes[-1]
            print(f"{name:9} {caller:14} as before for {ends_s[0]:.2f} s, then {status} {version}".rstrip())


def make_versions(source: Path, folder: Path, name: str) -> list[StoredModel]:
    return [
        install_copy(source, folder / f"{name}-{version}", name=name, version=version) for version in ("1.0.0", "2.0.0")
    ]


def test_what_is_attacked_is_served_as_it_was_and_then_not_at_all(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each caller's answers change once: no foreign byte, no 500, nothing comes back."""
    home = tmp_path / "home"
    monkeypatch.setenv("BENTOML_HOME", str(home))
    ours, theirs = make_key_pair(tmp_path / "ours"), make_key_pair(tmp_path / "theirs")
    trusted = Path(shutil.copy(ours[1], tmp_path / "trusted.pub"))
    versions = {name: make_versions(tiny_artifact, tmp_path, name) for name in (*ATTACKS, "rekeyed")}
    for stored in chain.from_iterable(versions.values()):
        signing.sign(stored.path, ours[0])
    # It passes once the key is theirs; until then only the newer one does.
    signing.sign(versions["rekeyed"][0].path, theirs[0])
    with (
        run_server(
            home,
            tmp_path / "log",
            GANMINT_REQUIRE_SIGNED="1",
            GANMINT_PUBLIC_KEY=str(trusted),
            GANMINT_POLL_S=str(POLL_S),
        ) as server,
        httpx.Client(base_url=server.url, timeout=TIMEOUT_S, verify=NO_TLS) as client,
    ):
        witness = Witness(client)
        for name in versions:
            witness.ask(name)
        for name, attack in ATTACKS.items():
            attacked_at = time.monotonic()
            attack(versions[name][1].path)
            witness.ask_until_refused(name)
            witness.print_row(name, attacked_at)
        attacked_at = time.monotonic()
        trusted.write_bytes(theirs[1].read_bytes())
        witness.ask_until_refused("rekeyed")
        witness.print_row("rekeyed", attacked_at)
    for name in versions:
        for caller in CALLERS:
            (first, _), *rest = witness.list_changes(name, caller)
            refusal = (200, "1.0.0") if caller == "no version" else (404 if name == "deleted" else 503, "")
            assert (first, rest) == (200, [refusal]), (name, caller)
