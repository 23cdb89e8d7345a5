"""The protocol identifies itself by a digest."""

from __future__ import annotations

from training.evaluation.protocol import STANDARD, Protocol


def test_the_standard_protocol_is_unchanged() -> None:
    """A change of any setting needs a new name, because scores are no longer comparable."""
    assert STANDARD.name == "ganmint-eval/2"
    assert STANDARD.digest == "c671b8c1f8f4c1e61c3071cbbd36aa65f6f111a4770a0bbfbc93e1a705b59f0b"


def test_a_protocol_is_read_back_from_json() -> None:
    protocol = Protocol(name="small", holdout=0.25)

    assert Protocol.model_validate_json(protocol.model_dump_json()) == protocol
