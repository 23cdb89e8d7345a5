"""The service's settings, from GANMINT_* environment variables.

Knows: names, defaults and bounds. Does not know: what uses them.
"""

from __future__ import annotations

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.errors import InputError


class Settings(BaseSettings):
    """Every setting; GANMINT_MAX_N sets max_n, and so on."""

    model_config = SettingsConfigDict(env_prefix="GANMINT_", frozen=True, extra="ignore")

    models: str = Field(default="", description="names to serve, comma-separated; empty: all in the store")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    max_n: int = Field(default=1024, ge=1, le=65536, description="images in one request")
    max_body_bytes: int = Field(default=65536, ge=1024)
    queue_images: int = Field(default=4096, ge=1, description="images waiting per model before 429")
    announce_url: str = Field(default="", description="printed with a curl line once ready")
    poll_s: float = Field(default=5.0, gt=0, description="how often the store is looked at for new versions")

    @model_validator(mode="after")
    def _largest_request_fits(self) -> Settings:
        if self.queue_images < self.max_n:
            raise ValueError(f"queue_images ({self.queue_images}) must be at least max_n ({self.max_n})")
        return self

    @property
    def names(self) -> frozenset[str]:
        """The names in `models`."""
        return frozenset(part.strip() for part in self.models.split(",") if part.strip())


def from_environment() -> Settings:
    """The settings.

    Raises: InputError naming the environment variable at fault.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper() or "SETTINGS"
        raise InputError(first["msg"].removeprefix("Value error, "), f"GANMINT_{name}") from None
