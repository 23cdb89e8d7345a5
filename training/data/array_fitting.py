"""Bring the images of a data set in arrays to one size, as image files are when they are decoded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from models.images import to_picture
from training.data.allocation import allocate
from training.data.dataset import Dataset, Origins
from training.data.decoding import Decoding, Size
from training.data.fitting import find_box, fit_image, is_enlarged


def fit_dataset(dataset: Dataset, decoding: Decoding) -> Dataset:
    """Return a data set with all images of the wanted size; itself if they are.

    Raises: DataError when there is no room.
    """
    channels, height, width = dataset.shape
    size = decoding.size or Size(width, height)
    wanted = (size.height, size.width, 3 if decoding.is_coloured else channels)
    if wanted == (height, width, channels):
        return dataset
    images = allocate((len(dataset), *wanted), Path(dataset.name))
    for k, pixels in enumerate(np.asarray(dataset.images, np.uint8)):
        fitted = np.asarray(fit_image(to_picture(pixels).convert("RGB" if wanted[2] == 3 else "L"), decoding))
        images[k] = fitted.reshape(wanted)
    box = find_box(Size(width, height), decoding)
    origins = Origins(
        tuple(f"image {k}" for k in range(len(dataset))),
        np.tile(np.array(box, np.int32), (len(dataset), 1)),
        len(dataset) if is_enlarged(box, decoding) else 0,
    )
    return dataclasses.replace(dataset, images=images, origins=origins)
