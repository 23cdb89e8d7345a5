"""The protocol identifies itself by a digest."""

from __future__ import annotations

from training.evaluation.protocol import STANDARD, Protocol


def test_the_standard_protocol_is_unchanged() -> None:
    """A change of any setting needs a new name, because scores are no longer comparable."""
    assert STANDARD.name == "ganmint-eval/1"
    assert STANDARD.digest == "a062f5c7803d024d0f269e7c2b7db6ba6962196aa2af15cee15ec336e97b7167"


def test_a_protocol_is_read_back_from_json() -> None:
    protocol = Protocol(name="small", holdout=0.25)

    assert Protocol.model_validate_json(protocol.model_dump_json()) == protocol
