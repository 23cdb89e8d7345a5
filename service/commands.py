"""The commands of the service: serve, keys."""

from __future__ import annotations

import ipaddress
import math
import os
import socket
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import click

from models import signing, store
from models.errors import InputError, ModelNotFoundError
from models.runtime.loading import RUNTIME_VARIABLE
from service.settings import Settings, find_unknown_variables, read_settings

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
# Variables that name a file or folder, relative to where the command is run.
PATH_VARIABLES = ("BENTOML_HOME", "GANMINT_API_KEYS_FILE", "GANMINT_METRICS_DIR")
RUNTIME_PACKAGES = {"onnx": "onnxruntime", "torchscript": "torch"}


# Not a user's: the command itself sets it for the processes that it starts.
INTERNAL_SETTINGS = {"announce_url"}


class _ServeCommand(click.Command):
    """Adds the environment variables to the help, as Settings describes them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Environment variables"):
            formatter.write_dl(
                [
                    (f"GANMINT_{name.upper()}={_format_default(field.default)}", field.description or "")
                    for name, field in Settings.model_fields.items()
                    if name not in INTERNAL_SETTINGS
                ]
            )


def _format_default(value: object) -> str:
    """Return a setting's default as an environment variable would say it."""
    return f"{value:g}" if isinstance(value, bool | float) else str(value)


@click.command(
    cls=_ServeCommand,
    epilog="\b\nExamples:\n  ganmint serve --port 3000\n  GANMINT_MODELS=digits GANMINT_WORKERS=2 ganmint serve",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The IP address or host name to bind to.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="The TCP port.")
def serve(host: str, port: int) -> None:
    """Serve every model in the store over HTTP.

    Environment variables configure the service; they are listed below with their defaults. docs/serving.md says more.
    """
    settings = read_settings()
    _check_startup(settings)
    address = resolve_host(host)
    _check_port(address, port)
    for name in find_unknown_variables(os.environ):
        click.echo(f"WARNING: {name} is no setting, and is ignored; ganmint serve --help lists them", err=True)
    url = f"http://{_format_host(str(address))}:{port}{settings.root_path}"
    has_keys = bool(settings.api_keys_file or settings.api_keys)
    if not address.is_loopback and not has_keys:
        warning = (
            f"WARNING: {address} can be reached from other machines and no API keys are set: anyone may use this "
            "service. Set GANMINT_API_KEYS_FILE (ganmint keys new) or bind to 127.0.0.1."
        )
        click.secho(warning, fg="red", bold=True, err=True)
    names = sorted(settings.names) or store.list_names()
    click.echo(f"Starting on {url}: loading and checking {', '.join(names)}", err=True)
    sys.stdout.flush()
    command = [sys.executable, "-m", "bentoml", "serve", "service.bento:Ganmint", "--quiet"]
    command += ["--working-dir", str(Path(__file__).parent.parent), "--host", str(address), "--port", str(port)]
    command += ["--timeout-graceful-shutdown", str(math.ceil(settings.timeout_s) + 5)]
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "true", "GANMINT_ANNOUNCE_URL": url}
    os.execve(sys.executable, command, make_paths_absolute(environment))


def _format_host(host: str) -> str:
    """Return an IP address as it stands in the URL that reaches it from this machine."""
    address = ipaddress.ip_address(host)
    if address.is_unspecified or host == "127.0.0.1":
        return "localhost"
    return f"[{host}]" if address.version == 6 else host


def make_paths_absolute(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with absolute paths: the workers run in another folder than the command."""
    paths = {name: _make_absolute(environment[name]) for name in PATH_VARIABLES if environment.get(name)}
    if keys := environment.get(signing.KEY_VARIABLE):
        parts = (part.strip() for part in keys.split(","))
        paths[signing.KEY_VARIABLE] = ",".join(_make_absolute(part) for part in parts if part)
    return {**environment, **paths}


def _make_absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _check_startup(settings: Settings) -> None:
    """Refuse what would stop the workers: one clear line now, rather than workers that never start."""
    if settings.api_keys_file or settings.api_keys:
        # Only here, because it brings FastAPI, which this process does not need.
        from service.auth import Authenticator

        Authenticator(settings.api_keys_file, settings.api_keys)
    check_runtime(settings.runtime)
    if not store.list_names():
        raise ModelNotFoundError(
            f"no model in {store.get_home()}; install the bundled ones with: ganmint models install"
        )
    signing.check_keys(settings.trust.keys)
    missing = sorted(settings.names - set(store.list_names()))
    if missing:
        raise ModelNotFoundError(f"GANMINT_MODELS names {missing[0]!r}; there are: {', '.join(store.list_names())}")


def check_runtime(runtime: str) -> None:
    """Check that the package of a runtime is installed; for `auto`, that of any.

    Raises:
        InputError: names the variable.
    """
    packages = [RUNTIME_PACKAGES[runtime]] if runtime in RUNTIME_PACKAGES else list(RUNTIME_PACKAGES.values())
    if not any(find_spec(package) for package in packages):
        needed, first = " or ".join(packages), packages[0]
        raise InputError(f"{runtime} needs {needed}; install it with: pip install {first}", RUNTIME_VARIABLE)


def resolve_host(host: str) -> IPAddress:
    """Return the address of a host; of several the first IPv4 one, which every client can reach.

    Raises:
        InputError: names the option.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InputError(f"{host!r} is neither an IP address nor the name of this machine", "--host") from None
    addresses = [ipaddress.ip_address(str(address[0])) for *_, address in found]
    return min(addresses, key=lambda address: address.version)


def _check_port(address: IPAddress, port: int) -> None:
    """Check that the port is free: one clear line now, rather than a worker's stack trace later.

    Raises:
        InputError: names the option at fault.
    """
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(address), port))
        except OSError as error:
            place = f"[{address}]" if address.version == 6 else str(address)
            message = f"cannot listen on {place}:{port}: {error.strerror}; try another --port"
            raise InputError(message, "--port") from None


@click.group()
def keys() -> None:
    """Make API keys for the service."""


@keys.command(epilog="\b\nExample:\n  ganmint keys new laboratory")
@click.argument("name")
def new(name: str) -> None:
    """Make a key for NAME and print it with its record for the key file.

    The key itself is printed only once. The file is a JSON list of records; requests_per_minute and
    images_per_minute are optional. A running service reads a changed file within seconds.
    """
    from service.auth import create_key

    secret, record = create_key(name)
    click.echo(f"Key, printed only once (Authorization: Bearer KEY):\n{secret}\n\nRecord for the list in the key file:")
    click.echo(record.model_dump_json(indent=2))
