"""The service's settings, read from GANMINT_* environment variables."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.base import first_problem
from models.errors import InputError

if TYPE_CHECKING:
    from models.signing import Trust


PREFIX = "GANMINT_"
# Variables of other commands, and those that the service's own processes set for each other.
OTHER_VARIABLES = {"GANMINT_CACHE", "GANMINT_KEY_PASSWORD", "GANMINT_METRICS_DIR", "GANMINT_ARBITER_PID"}
# How alike two names are, from 0 to 1, to be taken for the same one misspelt.
MISSPELT_RATIO = 0.8
# A day: longer waits are a mistake.
MAX_S = 86_400
# A path prefix: no slash at its end, nothing that is escaped.
ROOT_PATH = r"^(/[A-Za-z0-9._~-]+)*$"


class Settings(BaseSettings):
    """All settings. The environment variable GANMINT_MAX_N sets max_n, and so on."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    models: str = Field(default="", description="model names to serve, comma-separated; empty: all in the store")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    # As models.runtime.loading.RuntimeChoice, which is too heavy for the arbiter to import.
    runtime: Literal["auto", "onnx", "torchscript"] = Field(
        default="auto", description="auto, onnx or torchscript; auto: onnx on the CPU where a model has the file"
    )
    max_n: int = Field(default=1024, ge=1, le=65536, description="most images in one request")
    max_body_bytes: int = Field(default=65536, ge=1024, description="most bytes in the body of one request")
    max_head_bytes: int = Field(
        default=32768, ge=1024, description="most bytes in the head (request line, headers) of one request"
    )
    head_timeout_s: float = Field(default=10.0, gt=0, description="most seconds from a head's first byte to its end")
    keep_alive_s: float = Field(
        default=75.0, gt=0, description="seconds that a connection stays open without a request; more than a proxy's"
    )
    max_file_bytes: int = Field(
        default=16_777_216, ge=1024, description="most bytes in a picture that is sent to /v1/verify"
    )
    timeout_s: float = Field(
        default=30.0, gt=0, le=MAX_S, description="most seconds for a request; callers may ask for fewer"
    )
    root_path: str = Field(
        default="",
        pattern=ROOT_PATH,
        description="path prefix that callers see behind a proxy, such as /images; the proxy may remove it or not",
    )
    trust_forwarded_prefix: bool = Field(
        default=False,
        description="1: X-Forwarded-Prefix names the path prefix; only behind a proxy that sets it for every request",
    )
    cors_origins: str = Field(default="", description="web origins that browsers may call from, comma-separated, or *")
    api_keys_file: str = Field(default="", description="JSON list of API keys (ganmint keys new); empty: open to all")
    api_keys: str = Field(default="", description="the same JSON list, instead of a file")
    rate_store: str = Field(
        default="",
        pattern=r"^((redis|rediss)://.+)?$",
        description="URL of a Redis or Valkey that counts keys' use for all processes; empty: each counts on its own",
    )
    rate_store_down: Literal["open", "closed"] = Field(
        default="open",
        description="while the store is away: open, each process counts on its own; closed, refuse with 503",
    )
    public_images: bool = Field(
        default=False, description="1: with API keys, too, shared caches may give permanent images to anyone"
    )
    share_weights: bool = Field(
        default=True, description="0: give nobody the models' weights; /play then asks for each image"
    )
    require_signed: bool = Field(
        default=False, description="1: load only models signed with a private key of GANMINT_PUBLIC_KEY"
    )
    public_key: str = Field(
        default="", description="PEM files of public keys, comma-separated, for GANMINT_REQUIRE_SIGNED"
    )
    access_log: bool = Field(default=False, description="1: one JSON line per request on standard error")
    tracing: bool = Field(
        default=False, description="1: send OpenTelemetry spans; configure the target by OTEL_* variables"
    )
    drain_pause_s: float = Field(
        default=0.0, ge=0, le=MAX_S, description="seconds to keep serving after SIGTERM, while not ready"
    )
    workers: int = Field(default=1, ge=1, le=64, description="processes, each with its own copy of the models")
    queue_images: int = Field(
        default=4096, ge=1, description="most images that wait per model; more are refused with 429"
    )
    cache_mb: int = Field(
        default=64, ge=0, le=1_000_000, description="memory for encoded permanent images, in MB; 0: no cache"
    )
    loaded_models: int = Field(
        default=4, ge=1, le=1000, description="most older versions that stay loaded, the least used make room"
    )
    announce_url: str = Field(
        default="", description="URL printed with a curl command once ready; ganmint serve sets it"
    )
    poll_s: float = Field(default=5.0, gt=0, le=MAX_S, description="seconds between looks for new models and keys")

    @model_validator(mode="after")
    def _check_queue_size(self) -> Settings:
        if self.queue_images < self.max_n:
            raise ValueError(f"queue_images ({self.queue_images}) must be at least max_n ({self.max_n})")
        return self

    @model_validator(mode="after")
    def _check_runtime(self) -> Settings:
        if self.runtime == "onnx" and self.device.startswith("cuda"):
            raise ValueError(f"runtime onnx runs on the CPU only, but device is {self.device}")
        return self

    @model_validator(mode="after")
    def _check_public_key(self) -> Settings:
        if self.require_signed and not self.public_key:
            raise ValueError("require_signed needs public_key, the PEM file of the key that models must be signed with")
        return self

    @property
    def trust(self) -> Trust:
        """Whose models may be loaded."""
        # Only here, because it is too heavy for the arbiter to import.
        from models.signing import make_trust

        return make_trust(self.require_signed, self.public_key)

    @property
    def names(self) -> frozenset[str]:
        """The names in `models`."""
        return frozenset(_split_list(self.models))

    @property
    def origins(self) -> list[str]:
        """The origins in `cors_origins`."""
        return _split_list(self.cors_origins)


def _split_list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def read_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        InputError: names the environment variable at fault, or one whose name is misspelt.
    """
    for name in find_unknown_variables(os.environ):
        if similar := difflib.get_close_matches(name, _list_variables(), 1, MISSPELT_RATIO):
            raise InputError(f"there is no such setting; did you mean {similar[0]}?", name)
    try:
        return Settings()
    except ValidationError as error:
        problem = first_problem(error)
        raise InputError(problem.message, f"GANMINT_{problem.field.upper() or 'SETTINGS'}") from None


def find_unknown_variables(names: Iterable[str]) -> list[str]:
    """Return which of these are called like settings and are none.

    Kubernetes sets variables of its own for a Service that is called ganmint, such as GANMINT_PORT_3000_TCP.
    """
    known = _list_variables()
    unknown = sorted(name for name in names if name.startswith(PREFIX) and name not in known)
    return [name for name in unknown if not re.fullmatch(r"GANMINT_(.*_)?(SERVICE_HOST|(SERVICE_)?PORT(_.*)?)", name)]


def _list_variables() -> set[str]:
    return {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
