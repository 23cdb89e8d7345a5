"""Ganmint mints synthetic images from seeds.

    import ganmint

    minted = ganmint.load("digits").mint(seed=7, n=64, labels="balanced")
    minted.images     # uint8 (64, 28, 28, 1)
    minted.labels     # int64 (64,)
    minted.addresses  # one for each image; the same address always gives the same image

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganmint import errors
    from ganmint.api import encode, export, load, verify
    from ganmint.model import Minted, Model
    from models.address import Address
    from models.verification import Verification

    __version__: str

__all__ = [
    "Address",
    "Minted",
    "Model",
    "Verification",
    "__version__",
    "encode",
    "errors",
    "export",
    "load",
    "verify",
]

_MODULES = {
    "Address": "models.address",
    "Minted": "ganmint.model",
    "Model": "ganmint.model",
    "Verification": "models.verification",
    "encode": "ganmint.api",
    "export": "ganmint.api",
    "load": "ganmint.api",
    "verify": "ganmint.api",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ganmint")
    if name not in __all__:
        raise AttributeError(f"module 'ganmint' has no attribute {name!r}")
    from ganmint import own_packages

    own_packages.check()
    value = import_module("ganmint.errors") if name == "errors" else getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
