"""Our metrics agree with torch-fidelity's to 1 %; Inception-v3's weights are read from the given file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.errors import FileError
from training.evaluation import classifier, metrics
from training.evaluation.classifier import Classifier, Recipe
from training.evaluation.data_split import DataSplit
from training.evaluation.inception import InceptionSpace, import_torch_fidelity

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def real_classifier(digits: DataSplit) -> Classifier:
    train = digits.train
    assert train.labels is not None
    return classifier.train(
        train.images, train.labels, 10, Recipe(width=8, features=16, epochs=2, min_images_shown=0, batch=50)
    )


@pytest.fixture(scope="module")
def pair(digits: DataSplit) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return real images and noisy ones, uint8 (150, 28, 28, 1)."""
    noise = np.random.RandomState(0).randint(0, 90, digits.compared.images.shape)
    return digits.compared.images, np.clip(digits.train.images[:150].astype(int) + noise, 0, 255).astype(np.uint8)


def test_metrics_agree_with_torch_fidelity(
    real_classifier: Classifier, pair: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    package = import_torch_fidelity()

    class Extractor(package.FeatureExtractorBase):  # type: ignore[misc, name-defined]
        def __init__(self, name: str, features_list: list[str], **_: object) -> None:
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("features", "logits")

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            predictions = real_classifier.predict(images[:, :1].permute(0, 2, 3, 1).numpy())
            outputs = {"features": predictions.features, "logits": np.log(predictions.probabilities.clip(1e-30))}
            return tuple(torch.from_numpy(outputs[name]) for name in self.features_list)

    real, fake = pair
    package.register_feature_extractor("ganmint", Extractor)
    first, second = (
        torch.utils.data.TensorDataset(torch.from_numpy(x).permute(0, 3, 1, 2).repeat(1, 3, 1, 1)) for x in (fake, real)
    )
    theirs = package.calculate_metrics(
        input1=_ImagesOnly(first),
        input2=_ImagesOnly(second),
        cuda=False,
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        feature_extractor="ganmint",
        kid_subsets=10,
        kid_subset_size=100,
        isc_splits=5,
        samples_shuffle=False,
        rng_seed=3,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    real_features = real_classifier.predict(real).features
    fake_predictions = real_classifier.predict(fake)
    fake_features = fake_predictions.features

    precision, recall = metrics.precision_recall(real_features, fake_features)
    kid = metrics.kernel_distance(real_features, fake_features, 10, 100, seed=3)
    score = metrics.inception_score(fake_predictions.probabilities, 5)

    assert metrics.frechet_distance(real_features, fake_features) == pytest.approx(
        theirs["frechet_inception_distance"], rel=0.01
    )
    assert kid.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=0.01)
    assert kid.sd == pytest.approx(theirs["kernel_inception_distance_std"], rel=0.01)
    assert precision == pytest.approx(theirs["precision"], rel=0.01)
    assert recall == pytest.approx(theirs["recall"], rel=0.01)
    assert score.mean == pytest.approx(theirs["inception_score_mean"], rel=0.01)
    assert 0.05 < precision < 0.95 or 0.05 < recall < 0.95, "the case is too easy"


def test_inception_loads_only_the_given_file(
    tmp_path: Path, digits: DataSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = import_torch_fidelity()
    weights = tmp_path / "inception.pth"
    monkeypatch.setattr(
        "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url",
        lambda *_, **__: pytest.fail("download"),
    )
    # An untrained network of the right shape, to be read from the file.
    with monkeypatch.context() as patch:
        patch.setattr("torch.nn.Module.load_state_dict", lambda *_: None)
        patch.setattr("torch.load", lambda *_, **__: None)
        network = package.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path="none")
    torch.save(network.state_dict(), weights)

    space = InceptionSpace(weights)

    features = space.features(digits.compared.images[:3])
    assert features.shape == (3, 2048) and np.isfinite(features).all()
    assert len(space.sha256) == 64


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"hello", "is not a file of weights"),
        ("state", "does not hold the weights of Inception-v3"),
    ],
)
def test_unusable_inception_weights_are_refused(tmp_path: Path, content: bytes | str | None, words: str) -> None:
    weights = tmp_path / "inception.pth"
    if isinstance(content, bytes):
        weights.write_bytes(content)
    elif content:
        torch.save({"layer": torch.zeros(3)}, weights)

    with pytest.raises(FileError, match=f"inception.pth: {words}.*download the file that torch-fidelity names"):
        InceptionSpace(weights)


class _ImagesOnly(torch.utils.data.Dataset[torch.Tensor]):
    """Yields images instead of tuples, as torch-fidelity expects."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __len__(self) -> int:
        return len(self._inner)

    def __getitem__(self, index: int) -> torch.Tensor:
        image: torch.Tensor = self._inner[index][0]
        return image
