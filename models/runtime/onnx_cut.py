"""Cut the ONNX file of a generator into one file for each level, without onnx: fields of its graph are copied.

The cuts are where `models.runtime.onnx_graph` ends a level: before a convolution that makes room for the next level
(`mix`, or a transposed one), and before the one that makes colours (`out`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from models.network_config import LevelShape
from models.runtime.onnx_scan import read_fields

# Field numbers of ONNX messages (onnx.proto3).
_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_OPSET = 1, 7, 8
_GRAPH_NODE, _GRAPH_NAME, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 2, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR = 1, 2, 4
_TENSOR_NAME = 8
_VALUE_NAME, _VALUE_TYPE = 1, 2
_FLOAT = 1


class Piece(NamedTuple):
    """A part of a generator as an ONNX file of its own.

    Attributes:
        content: the file.
        inputs, outputs: the names of its tensors.
    """

    content: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class _Node(NamedTuple):
    content: bytes
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def ends_level(self) -> bool:
        """Whether its first input is what a level ends with."""
        weight = self.inputs[1] if len(self.inputs) > 1 else ""
        return self.operator == "ConvTranspose" or weight.endswith(".mix.weight") or weight == "out.weight"


class _Graph:
    """The parts of an ONNX file, each as its bytes; tensors and values by their names."""

    def __init__(self, data: bytes) -> None:
        fields = list(read_fields(memoryview(data)))
        self.ir_version = next(value for number, value in fields if number == _MODEL_IR_VERSION)
        self.opsets = [bytes(value) for number, value in fields if number == _MODEL_OPSET]
        graph = next(value for number, value in fields if number == _MODEL_GRAPH)
        assert isinstance(graph, memoryview)
        self.nodes: list[_Node] = []
        self.initializers: dict[str, bytes] = {}
        self.inputs: dict[str, bytes] = {}
        self.outputs: dict[str, bytes] = {}
        for number, value in read_fields(graph):
            if not isinstance(value, memoryview):
                continue
            if number == _GRAPH_NODE:
                self.nodes.append(_read_node(value))
            elif number == _GRAPH_INITIALIZER:
                self.initializers[_read_name(value, _TENSOR_NAME)] = bytes(value)
            elif number in (_GRAPH_INPUT, _GRAPH_OUTPUT):
                values = self.inputs if number == _GRAPH_INPUT else self.outputs
                values[_read_name(value, _VALUE_NAME)] = bytes(value)


def cut_at_levels(data: bytes, levels: Sequence[LevelShape], output: str) -> list[Piece]:
    """Cut a generator's ONNX file after each of its levels.

    Args:
        data: the file.
        levels: its levels.
        output: the name of the output that the last piece has.
    Returns: one piece more than there are levels. Each takes what the piece before gives: the first, the generator's
        inputs; the others, the feature maps of a level, float32 (1, units, height, width).
    Raises: ValueError where the file is no generator of such levels.
    """
    graph = _Graph(data)
    cuts = [k for k, node in enumerate(graph.nodes) if node.ends_level]
    if len(cuts) != len(levels) or output not in graph.outputs:
        raise ValueError(f"it has {len(cuts)} levels where {len(levels)} are expected, or no {output!r}")
    maps = {graph.nodes[cut].inputs[0]: level for cut, level in zip(cuts, levels)}
    values = [_make_value(name, level) for name, level in maps.items()]
    names = [tuple(graph.inputs), *((name,) for name in maps), (output,)]
    forms = [list(graph.inputs.values()), *([value] for value in values), [graph.outputs[output]]]
    ends = [0, *cuts, len(graph.nodes)]
    return [
        Piece(_join(graph, graph.nodes[ends[k] : ends[k + 1]], forms[k], forms[k + 1]), names[k], names[k + 1])
        for k in range(len(levels) + 1)
    ]


def _read_node(message: memoryview) -> _Node:
    texts: dict[int, list[str]] = {_NODE_INPUT: [], _NODE_OUTPUT: [], _NODE_OPERATOR: []}
    for number, value in read_fields(message):
        if number in texts and isinstance(value, memoryview):
            texts[number].append(bytes(value).decode())
    operator = texts[_NODE_OPERATOR][0] if texts[_NODE_OPERATOR] else ""
    return _Node(bytes(message), operator, tuple(texts[_NODE_INPUT]), tuple(texts[_NODE_OUTPUT]))


def _read_name(message: memoryview, field: int) -> str:
    for number, value in read_fields(message):
        if number == field and isinstance(value, memoryview):
            return bytes(value).decode()
    return ""


def _join(graph: _Graph, nodes: Sequence[_Node], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bytes:
    """Return an ONNX file of these nodes and the constants that they use."""
    used = {name for node in nodes for name in node.inputs}
    parts = [_field(_GRAPH_NODE, node.content) for node in nodes]
    parts.append(_field(_GRAPH_NAME, b"level"))
    parts += [_field(_GRAPH_INITIALIZER, tensor) for name, tensor in graph.initializers.items() if name in used]
    parts += [_field(_GRAPH_INPUT, value) for value in inputs]
    parts += [_field(_GRAPH_OUTPUT, value) for value in outputs]
    assert isinstance(graph.ir_version, int)
    header = _field(_MODEL_IR_VERSION, graph.ir_version)
    return (
        header + _field(_MODEL_GRAPH, b"".join(parts)) + b"".join(_field(_MODEL_OPSET, part) for part in graph.opsets)
    )


def _make_value(name: str, level: LevelShape) -> bytes:
    """Return a ValueInfo: float32 (1, units, height, width)."""
    shape = b"".join(_field(1, _field(1, size)) for size in (1, *level))
    tensor = _field(1, _FLOAT) + _field(2, shape)
    return _field(_VALUE_NAME, name.encode()) + _field(_VALUE_TYPE, _field(1, tensor))


def _field(number: int, value: int | bytes) -> bytes:
    """Return a field of a protocol buffer: a number, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)
