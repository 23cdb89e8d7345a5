"""Look through the bytes of an ONNX file, without onnx and before onnxruntime reads them.

onnxruntime reads a tensor that lies in another file from wherever the model says, so such models are refused.
What cannot be read for certain is refused, too.
"""

from __future__ import annotations

from collections.abc import Iterator

# Fields of ONNX messages (onnx.proto3) through which a tensor can be reached.
_MESSAGES: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_TENSOR_NAME = 8
_EXTERNAL_DATA = 13
_DATA_LOCATION = 14
# Protocol buffers' own limits.
_MAX_DEPTH = 100
_MAX_TAG = 2**32 - 1
_MAX_VARINT_BYTES = 10


def find_external_data(data: bytes) -> str:
    """Return the name of a tensor whose values lie in another file; empty where there is none.

    Raises: ValueError where the bytes are no protocol buffer.
    """
    return _find_in(memoryview(data), "Model", 0)


def _find_in(message: memoryview, kind: str, depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    name = ""
    is_external = False
    for field, value in read_fields(message):
        if kind == "Tensor" and field == _TENSOR_NAME and isinstance(value, memoryview):
            name = bytes(value).decode(errors="replace")
        elif kind == "Tensor" and field in (_EXTERNAL_DATA, _DATA_LOCATION):
            is_external = is_external or bool(value)
        elif field in _MESSAGES[kind] and isinstance(value, memoryview):
            external = _find_in(value, _MESSAGES[kind][field], depth + 1)
            if external:
                return external
    return (name or "unnamed") if is_external else ""


def read_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of a protocol buffer (protobuf.dev, "Encoding").

    Raises: ValueError where it is damaged.
    """
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        field, wire_type = tag >> 3, tag & 7
        if tag > _MAX_TAG or not field:
            raise ValueError("it has a field without a number")
        if wire_type == 0:
            value, position = _read_varint(message, position)
            yield field, value
            continue
        if wire_type == 2:
            size, position = _read_varint(message, position)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            # Groups, which ONNX has none of, and types that do not exist.
            raise ValueError(f"field {field} is of an unknown type")
        if position + size > len(message):
            raise ValueError(f"field {field} is cut short")
        yield field, message[position : position + size]
        position += size


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        if position + count >= len(message):
            raise ValueError("a number is cut short")
        byte = message[position + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, position + count + 1
    raise ValueError("a number is too long")
