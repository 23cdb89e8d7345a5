"""The service's settings, from GANMINT_* environment variables.

Knows: names, defaults and bounds. Does not know: what uses them.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.base import first_problem
from models.errors import InputError


class Settings(BaseSettings):
    """Every setting; GANMINT_MAX_N sets max_n, and so on."""

    model_config = SettingsConfigDict(env_prefix="GANMINT_", frozen=True, extra="ignore")

    models: str = Field(default="", description="names to serve, comma-separated; empty: all in the store")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    max_n: int = Field(default=1024, ge=1, le=65536, description="images in one request")
    max_body_bytes: int = Field(default=65536, ge=1024)
    timeout_s: float = Field(default=30.0, gt=0, description="longest a request may take, and the default")
    cors_origins: str = Field(default="", description="origins that browsers may call from, comma-separated, or *")
    api_keys_file: str = Field(default="", description="JSON list of keys; empty: anyone may ask")
    api_keys: str = Field(default="", description="the same JSON list, in place of a file")
    require_signed: bool = Field(default=False, description="serve only models that public_key's owner has signed")
    public_key: str = Field(default="", description="PEM file of the key that require_signed asks for")
    access_log: bool = Field(default=False, description="one JSON line per request on standard error")
    tracing: bool = Field(default=False, description="OpenTelemetry spans by OTLP; OTEL_* variables say where to")
    drain_pause_s: float = Field(default=0.0, ge=0, description="after SIGTERM: not ready, but still serving")
    workers: int = Field(default=1, ge=1, le=64)
    queue_images: int = Field(default=4096, ge=1, description="images waiting per model before 429")
    announce_url: str = Field(default="", description="printed with a curl line once ready")
    poll_s: float = Field(default=5.0, gt=0, description="how often the store is looked at for new versions")

    @model_validator(mode="after")
    def _largest_request_fits(self) -> Settings:
        if self.queue_images < self.max_n:
            raise ValueError(f"queue_images ({self.queue_images}) must be at least max_n ({self.max_n})")
        return self

    @model_validator(mode="after")
    def _signed_by_whom(self) -> Settings:
        if self.require_signed and not self.public_key:
            raise ValueError("require_signed needs public_key: the PEM file of the key that models must be signed with")
        return self

    @property
    def trusted_key(self) -> Path | None:
        """The key that every model must be signed with; None: any model is served."""
        return Path(self.public_key) if self.require_signed else None

    @property
    def names(self) -> frozenset[str]:
        """The names in `models`."""
        return frozenset(_parts(self.models))

    @property
    def origins(self) -> list[str]:
        """The origins in `cors_origins`."""
        return _parts(self.cors_origins)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def from_environment() -> Settings:
    """The settings.

    Raises: InputError naming the environment variable at fault.
    """
    try:
        return Settings()
    except ValidationError as error:
        problem = first_problem(error)
        raise InputError(problem.message, f"GANMINT_{problem.field.upper() or 'SETTINGS'}") from None
