"""What a model card says."""

from __future__ import annotations

import pytest

from models.manifest import Manifest
from models.model_card import render_model_card


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("medium", "small"), "it small (not medium)"),
        (("", "age"), "it age (the preset has none)"),
        ((None, 8.0), "it 8 (the preset has none)"),
        ((0.5, None), "it none (not 0.5)"),
        ((False, True), "it True (not False)"),
    ],
)
def test_a_card_says_what_a_changed_setting_was(
    tiny_manifest: Manifest, change: tuple[object, object], words: str
) -> None:
    training = tiny_manifest.training.model_copy(update={"changed_settings": {"it": change}})

    card = render_model_card(tiny_manifest.model_copy(update={"training": training}))

    assert f": {words}\n" in card
