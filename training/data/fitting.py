"""Bring an image to a size and onto a background.

An image is cropped to the wanted aspect, put on bars of the background, or stretched; then it is reduced by averaging
whole blocks of pixels, and by an antialiased bicubic filter for the rest, below a factor of 2 (Pillow's reducing_gap;
Dhariwal and Nichol, arXiv 2105.05233, read ImageNet so).
"""

from __future__ import annotations

from PIL import Image, ImageOps

from training.data.decoding import Box, Colour, Decoding, Size


def put_on_background(image: Image.Image, background: Colour) -> Image.Image:
    """Return an image with transparent pixels as RGB, blended with a background."""
    below = Image.new("RGBA", image.size, background)
    below.alpha_composite(image.convert("RGBA"))
    return below.convert("RGB")


def find_box(size: Size, decoding: Decoding) -> Box:
    """Return the part of an image of this size that is used."""
    width, height = size
    if decoding.size is None or decoding.fit != "crop":
        return (0, 0, width, height)
    wanted = decoding.size
    inner_width = min(width, max(round(height * wanted.width / wanted.height), 1))
    inner_height = min(height, max(round(width * wanted.height / wanted.width), 1))
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    return (left, top, left + inner_width, top + inner_height)


def is_enlarged(box: Box, decoding: Decoding) -> bool:
    """Tell whether a part of an image has fewer pixels than it is brought to, along either side."""
    if decoding.size is None:
        return False
    left, top, right, bottom = box
    has_few = (right - left < decoding.size.width, bottom - top < decoding.size.height)
    return all(has_few) if decoding.fit == "pad" else any(has_few)


def fit_image(image: Image.Image, decoding: Decoding) -> Image.Image:
    """Bring an upright image of mode "L" or "RGB" to the wanted size."""
    size = decoding.size
    if size is None:
        return image
    # Cropped first: so the averaged blocks begin at the box.
    image = image.crop(find_box(Size(*image.size), decoding))
    if decoding.fit == "pad":
        scale = min(size.width / image.width, size.height / image.height)
        inner = Size(*(max(round(side * scale), 1) for side in image.size))
        colour = decoding.background or (0, 0, 0)
        return ImageOps.pad(_resize(image, inner), size, color=colour[0] if image.mode == "L" else colour)
    return _resize(image, size)


def _resize(image: Image.Image, size: Size) -> Image.Image:
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.0)
