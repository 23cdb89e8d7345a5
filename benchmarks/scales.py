"""Asks whether the evaluation tells real images from bad ones: the acceptance table of the protocol.

    python -m benchmarks.scales --data path/to/mnist
    python -m benchmarks.scales --data path/to/faces.zip --preset faces-cpu --model faces

Each row is a set of images in place of generated ones, made from real images; every figure is a ratio to that of real
images. A bad row must break at least one bound, the real row none. The bounds were written down before the first table.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from models import artifact, store
from training.config_files import load_preset
from training.data_config import DataConfig
from training.evaluation import data_split, features
from training.evaluation.classifier import Images
from training.evaluation.data_split import DataSplit
from training.evaluation.distribution_metrics import compute_feature_metrics
from training.evaluation.features import EfficientNetSpace
from training.evaluation.memorisation import TrainingImages, distance_ratio
from training.evaluation.protocol import STANDARD, Protocol
from training.evaluation.sharpness import sharpness
from training.gate import Bound, check_gate
from training.metric_results import Measurement, MetricName, MetricResult, try_measure

BOUNDS: dict[MetricName, Bound] = {
    "recall": Bound(min_ratio_to_real=0.6),
    "fd": Bound(max_ratio_to_real=4),
    "sharpness": Bound(min=0.7, max=1.4),
    "near_copies": Bound(max_above_real=0.001),
    "feature_copies": Bound(max_above_real=0.001),
}
SHOWN: tuple[MetricName, ...] = (
    "fd", "precision", "recall", "density", "coverage", "sharpness", "distance_ratio", "near_copies", "feature_copies",
)  # fmt: skip
# Those that are not printed as ratios to real images.
SHARES = ("near_copies", "feature_copies")
# A collapsed set repeats one in so many images with noise of so many levels.
COLLAPSED_TO_ONE_IN = 6
COLLAPSED_NOISE = 4.0
NOISE = 25.0


def corruptions(side: int) -> dict[str, Callable[[Images], Images]]:
    """Return the corruptions of other real images, by name, for images of this side in pixels."""
    factor, blur_sd = (4, 2.0) if side >= 64 else (2, 1.0)
    return {
        f"pixelated to {side // factor}x{side // factor}": lambda x: pixelate(x, factor),
        f"blurred, sd {blur_sd:g}": lambda x: blur(x, blur_sd),
        f"noise, sd {NOISE:g}": lambda x: add_noise(x, NOISE),
        "collapsed, 1 image in 6": collapse,
    }


def pixelate(images: Images, factor: int) -> Images:
    """Average squares of factor x factor pixels; the side must be a multiple of the factor."""
    pooled = F.avg_pool2d(_channels_first(images), factor)
    return _to_images(F.interpolate(pooled, scale_factor=factor, mode="nearest"))


def blur(images: Images, sd: float) -> Images:
    """Blur with a Gaussian of `sd` pixels."""
    reach = round(3 * sd)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sd) ** 2)
    kernel /= kernel.sum()
    channels = images.shape[3]
    x = F.pad(_channels_first(images), [reach] * 4, mode="replicate")
    x = F.conv2d(x, kernel[None, None, :, None].expand(channels, 1, -1, 1), groups=channels)
    return _to_images(F.conv2d(x, kernel[None, None, None].expand(channels, 1, 1, -1), groups=channels))


def add_noise(images: Images, sd: float) -> Images:
    """Add Gaussian noise of `sd` levels, the same on every call."""
    noise = np.random.RandomState(0).normal(0, sd, images.shape)
    noisy: Images = (images + noise).round().clip(0, 255).astype(np.uint8)
    return noisy


def collapse(images: Images) -> Images:
    """Repeat one image in six, each time with a little other noise."""
    kept = images[: -(-len(images) // COLLAPSED_TO_ONE_IN)]
    return add_noise(np.concatenate([kept] * COLLAPSED_TO_ONE_IN)[: len(images)], COLLAPSED_NOISE)


def copies(images: Images) -> dict[str, Images]:
    """Return copies of training images under the small changes that must be seen through."""
    x = images.astype(np.float64)
    down, across = 2, -1
    moved = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    height, width = images.shape[1:3]
    return {
        "mirrored copies": images[:, :, ::-1],
        "shifted copies": moved[:, 2 + down : 2 + down + height, 2 + across : 2 + across + width],
        "brighter copies": (x + 30).clip(0, 255).astype(np.uint8),
        "copies of less contrast": ((x - 128) * 0.8 + 128).round().astype(np.uint8),
    }


def measure_rows(
    split: DataSplit, count: int, extra: Mapping[str, Images], protocol: Protocol = STANDARD
) -> dict[str, tuple[list[MetricResult], tuple[str, ...]]]:
    """Measure each row: its metrics beside those of real images, and the bounds that it breaks.

    Args:
        split: real images; `compared` holds at least `count`, `train` three times as many.
        count: images a side.
        extra: more rows, uint8 (n, H, W, C) with n of at least `count`.
        protocol: sample sizes and settings.
    """
    order = np.random.RandomState(1).permutation(len(split.train))
    stand_ins, others, originals = (split.train.images[order[k * count : (k + 1) * count]] for k in range(3))
    # The stand-ins and the originals of the bad rows were not copied, so no copies of them may be found.
    pool = split.train.images[order[2 * count :]]
    space = EfficientNetSpace(features.fit(pool))
    training_images = TrainingImages(pool, space, space.features(pool), "", protocol)
    test = split.compared.images[np.random.RandomState(2).permutation(len(split.compared))[:count]]
    test_features = space.features(test)
    test_closeness = training_images.search(test, test_features)
    assert test_closeness.neighbours is not None, test_closeness.near_copies.problem
    usual = test_closeness.neighbours.distance

    def measure(images: Images) -> dict[MetricName, Measurement]:
        row = images[:count]
        row_features = space.features(row)
        values = compute_feature_metrics(test_features, row_features, protocol)
        closeness = training_images.search(row, row_features)
        assert closeness.neighbours is not None
        return values | {
            "sharpness": try_measure(lambda: sharpness(test, row)),
            "distance_ratio": Measurement(distance_ratio(closeness.neighbours, usual)),
            "near_copies": closeness.near_copies,
            "feature_copies": closeness.feature_copies,
        }

    real = measure(stand_ins)
    real |= {"near_copies": test_closeness.near_copies, "feature_copies": test_closeness.feature_copies}
    sets = {
        # Other images than the stand-ins: a set would be compared with itself.
        "real": others,
        **{name: corrupt(others) for name, corrupt in corruptions(split.train.images.shape[1]).items()},
        **copies(originals),
        **extra,
    }
    rows = {}
    for name, images in sets.items():
        values = measure(images)
        results = [
            MetricResult(name=m, value=values[m].value, problem=values[m].problem, real_baseline=real[m].value)
            for m in SHOWN
        ]
        checks = check_gate(results, BOUNDS).checks
        rows[name] = results, tuple(check.metric for check in checks if not check.passed)
        print(format_row(name, *rows[name]), flush=True)
    return rows


def format_row(name: str, results: list[MetricResult], broken: tuple[str, ...]) -> str:
    """Format a row of the table in Markdown."""
    cells = []
    for result in results:
        if result.value is None:
            cells.append("-")
        elif result.name in SHARES:
            cells.append(f"{result.value:.1%}")
        elif result.name in ("sharpness", "distance_ratio"):
            cells.append(f"{result.value:.2f}")
        else:
            cells.append(f"{result.value / result.real_baseline:.2f}" if result.real_baseline else "-")
    return f"| {name} | {' | '.join(cells)} | {', '.join(broken) or 'none'} |"


def _channels_first(images: Images) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()


def _to_images(x: torch.Tensor) -> Images:
    return x.permute(0, 2, 3, 1).round().clamp(0, 255).byte().numpy()


def _mint(model: str, split: DataSplit, count: int) -> dict[str, Images]:
    """Mint images of a generator with the labels of training images, as it is and with its latents scaled by 0.85."""
    sampler = artifact.load(store.find_artifact(model, "--model"))
    labels = None if split.train.labels is None else split.train.labels[:count].tolist()
    addresses = sampler.manifest.addresses
    return {
        f"{sampler.manifest.name} {sampler.manifest.version}": sampler.mint(addresses(7, 0, count, labels)),
        "the same, latents times 0.85": sampler.mint(addresses(7, 0, count, labels, psi=0.85)),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="real images, as for ganmint train")
    parser.add_argument("--preset", default="", help="whose data settings are used, for labels and held-out images")
    parser.add_argument("--count", type=int, action="append", help="images a side; default: 300 and 10,000")
    parser.add_argument("--model", default="", help="also measure this generator, and with its latents times 0.85")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = load_preset(arguments.preset).data if arguments.preset else DataConfig()
    split = data_split.load(arguments.data, settings, "test")
    print(f"{split.whole.name}, {os.cpu_count()} cores; bounds: {', '.join(BOUNDS)}")
    for wanted in arguments.count or (300, 10_000):
        count = min(wanted, len(split.compared), len(split.train) // 4)
        print(f"\n{count:,} images a side\n\n| images | {' | '.join(SHOWN)} | breaks |")
        print("|" + " --- |" * (len(SHOWN) + 2))
        measure_rows(split, count, _mint(arguments.model, split, count) if arguments.model else {})


if __name__ == "__main__":
    main()
