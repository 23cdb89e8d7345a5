"""A loaded model, and the images that it mints: what `ganmint.load` returns.

Not here: finding and loading it (ganmint.api).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.address import Address
from models.errors import InputError
from models.labels import LabelSpec
from models.manifest import Manifest
from models.sampler import Sampler


@dataclass(frozen=True, eq=False)
class Minted:
    """Images and where they come from. Iterating gives pairs (image, label).

    Attributes:
        images: uint8 (n, H, W, C), C is 1 for grey and 3 for RGB.
        labels: int64 (n,), indices into `Model.class_names`; None for a model without classes. Of a mixture of two
            classes, the first.
        addresses: n addresses, in the same order.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    addresses: tuple[Address, ...]

    def __len__(self) -> int:
        return len(self.addresses)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape))
        last = f" .. {self.addresses[-1]}" if len(self) > 1 else ""
        return f"<ganmint.Minted {shape} uint8: {self.addresses[0]}{last}>"

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], int | None]]:
        labels: Iterable[int | None] = [None] * len(self) if self.labels is None else self.labels.tolist()
        return zip(self.images, labels)


class Model:
    """A loaded model; `ganmint.load` makes one. Threads may share it; they mint one after the other."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The model's name, such as digits."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The model's version, such as 4.2.0."""
        return self.manifest.version

    @property
    def manifest(self) -> Manifest:
        """What manifest.json says: training data, licences, scores, gate."""
        return self._sampler.manifest

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes in label order; empty for a model without classes."""
        return self.manifest.class_names

    @property
    def fingerprint(self) -> str:
        """The versions and the processor within which an address gives the same bytes."""
        return self._sampler.fingerprint

    def __repr__(self) -> str:
        return f"<ganmint.Model {self.name}/{self.version} on {self._sampler.device}>"

    def mint(
        self,
        *,
        seed: int,
        index: int = 0,
        n: int = 1,
        labels: LabelSpec | NDArray[np.integer[Any]] = None,
        psi: float = 1.0,
    ) -> Minted:
        """Mint n images of a seed.

        Args:
            seed: 0 .. 2^53 - 1.
            index: of the first image, 0 .. 2^53 - 1; the others follow.
            n: how many images, at least 1.
            labels: one label for all images, one per image, "balanced" (index modulo the number of classes),
                or None: each drawn from the seed. A label is the number or the name of a class, or its value in each
                label, such as {"gender": "female", "age": "60+"}, or {"age": 37.5} where a label is continuous.
            psi: truncation, in (0, 1]; below 1 images vary less. Only for models that allow it.
        Raises: InputError naming the argument at fault.
        """
        addresses = self.manifest.addresses(
            _to_python(seed), _to_python(index), _to_python(n), _to_label_spec(labels), _to_python(psi)
        )
        return self._mint(addresses)

    def mint_addresses(self, addresses: Iterable[Address | str]) -> Minted:
        """Mint the images of addresses of this model.

        Args: addresses, as objects or as text such as digits/4.2.0/7/0?label=3&to=8.0&at=0.5.
        Raises: InputError naming the part at fault.
        """
        if isinstance(addresses, str):
            raise InputError(f"must be a list of addresses, got the text {addresses!r}", "addresses")
        parse, check = self.manifest.parse_address, self.manifest.check
        return self._mint([parse(address) if isinstance(address, str) else check(address) for address in addresses])

    def mint_latents(
        self,
        latents: Sequence[ArrayLike] | NDArray[np.floating[Any]],
        *,
        labels: LabelSpec | NDArray[np.integer[Any]] = None,
        psi: float = 1.0,
    ) -> Minted:
        """Mint the images of latents that are written out; their addresses have the latents in them.

        Args:
            latents: (n, z_dim), values from -16 to 16; rounded to float32.
            labels: one label for all images, one per image, or "balanced" (position modulo the number of classes);
                None only for a model without classes.
            psi: truncation, in (0, 1]; scales the latents.
        Raises: InputError naming the argument at fault, such as latents[3].
        """
        return self._mint(self.manifest.latent_addresses(latents, _to_label_spec(labels), _to_python(psi)))

    def _mint(self, addresses: Sequence[Address]) -> Minted:
        with self._lock:
            pixels = self._sampler.mint(addresses)
        labels = None
        if self.class_names:
            labels = np.array([address.label for address in addresses], np.int64)
        return Minted(images=pixels, labels=labels, addresses=tuple(addresses))


def _to_python(value: Any) -> Any:
    """Turn a NumPy scalar into Python's own number."""
    return value.item() if isinstance(value, np.generic) else value


def _to_label_spec(labels: Any) -> LabelSpec:
    """Turn NumPy's integers into Python's; what is no label is refused where labels are resolved."""
    if isinstance(labels, Iterable) and not isinstance(labels, (str, Mapping)):
        return [_to_python(label) for label in labels]
    spec: LabelSpec = _to_python(labels)
    return spec
