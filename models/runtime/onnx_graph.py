"""Write a generator as an ONNX file from its weights and its configuration.

The graph is built node by node, so that the file does not depend on an exporter's version: the same weights
give the same bytes with the same `onnx` package. Not here: running it (models.runtime.onnx).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.numpy
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.errors import ArtifactError, InputError, first_line
from models.network_config import DCGANConfig, GeneratorConfig, MLPConfig, ResNetConfig, scale_base
from models.runtime.onnx import CLASS_WEIGHTS, IMAGE, PIXELS, Z

# Both are old enough for every onnxruntime that is still maintained.
OPSET = 17
IR_VERSION = 8
# The slope of models.networks.LEAK, and PyTorch's default epsilon of BatchNorm.
LEAK = 0.2
BATCH_NORM_EPSILON = 1e-5

Weights = Mapping[str, NDArray[Any]]


def build_onnx(config: GeneratorConfig, weights: Weights) -> bytes:
    """Return the ONNX file of a generator.

    Inputs: z, float32 (batch, z_dim), and class_weights, float32 (batch, num_classes), where a one-hot row picks
    a class exactly. Outputs: pixels, uint8 (batch, H, W, C), and image, float32 (batch, C, H, W), from which the
    pixels were rounded half to even.

    Args:
        config: of the generator.
        weights: by the names of generator.safetensors.
    Raises: InputError for network, where this kind of network has no ONNX form.
    """
    graph = _Graph(weights)
    match config.network:
        case ResNetConfig() as network:
            image = _add_resnet(graph, network, config.num_classes)
        case DCGANConfig() as network:
            image = _add_dcgan(graph, network, config.num_classes)
        case MLPConfig():
            raise InputError("an mlp makes toy data, which has no ONNX form", "network")
    graph.add("Identity", image, output=IMAGE)
    _add_pixels(graph, image)
    channels, height, width = config.shape
    inputs = [
        helper.make_tensor_value_info(Z, TensorProto.FLOAT, ["batch", config.z_dim]),
        helper.make_tensor_value_info(CLASS_WEIGHTS, TensorProto.FLOAT, ["batch", config.num_classes]),
    ]
    outputs = [
        helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["batch", height, width, channels]),
        helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, ["batch", channels, height, width]),
    ]
    proto = helper.make_graph(graph.nodes, "generator", inputs, outputs, list(graph.constants.values()))
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="ganmint")
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def write_onnx(config: GeneratorConfig, weights: Path, path: Path) -> None:
    """Write the ONNX file of a generator.

    Args:
        config: of the generator.
        weights: generator.safetensors.
        path: of the ONNX file.
    Raises: ArtifactError where the weights are not those of such a generator.
    """
    try:
        data = build_onnx(config, safetensors.numpy.load_file(weights))
    except KeyError as error:
        raise ArtifactError(weights, f"lacks {error}, which the manifest's network has") from None
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise ArtifactError(weights, f"does not fit the manifest's network: {first_line(error)}") from None
    path.write_bytes(data)


class _Graph:
    """Nodes and constants that are added one after another."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant, once for each name; return the name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def weight(self, name: str) -> str:
        """Add one of the generator's weights; return its name."""
        return self.constant(name, self.weights[name])

    def linear(self, x: str, name: str) -> str:
        """Add a linear layer without bias."""
        return self.add("MatMul", x, self.constant(f"{name}.weight.T", self.weights[f"{name}.weight"].T))

    def conv(self, x: str, name: str, bias: str = "", groups: int = 1) -> str:
        """Add a convolution that keeps height and width; `bias` names a weight of any shape with C values."""
        weight = self.weights[f"{name}.weight"]
        size = weight.shape[2]
        inputs = [x, self.weight(f"{name}.weight")]
        if bias:
            inputs.append(self.constant(bias, self.weights[bias].reshape(-1)))
        return self.add("Conv", *inputs, kernel_shape=[size, size], pads=[size // 2] * 4, group=groups)

    def reshape(self, x: str, shape: tuple[int, ...]) -> str:
        """Add a reshape of everything but the batch."""
        return self.add("Reshape", x, self.constant(f"shape_{len(self.nodes)}", np.array([-1, *shape], np.int64)))


def _add_resnet(graph: _Graph, network: ResNetConfig, num_classes: int) -> str:
    """Add models.networks.ResNetGenerator; return the name of its image."""
    z = _add_prior(graph, network.prior.steps, num_classes) if network.prior else Z
    if num_classes:
        z = graph.add("Concat", z, graph.linear(CLASS_WEIGHTS, "embed"), axis=1)
    h = graph.linear(z, "project")
    if network.input_layer == "basis":
        h = graph.add("Mul", graph.reshape(h, (network.widths[0], 1, 1)), graph.weight("basis"))
    else:
        h = graph.reshape(h, (network.widths[0], *scale_base(network.base)))
    layer = 0
    for level in range(len(network.widths)):
        if level:
            h = graph.conv(h, f"layers.{layer}.mix")
            scales = graph.constant("scales", np.array([1, 1, 2, 2], np.float32))
            h = graph.add("Resize", h, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
            layer += 1
        for _ in range(network.blocks):
            h = graph.add("Add", h, _add_residual(graph, h, f"layers.{layer}", network.group))
            layer += 1
    return graph.conv(h, "out")


def _add_prior(graph: _Graph, steps: int, num_classes: int) -> str:
    """Add models.networks.LearnedPrior; return the name of its latents."""
    z = Z
    label = graph.linear(CLASS_WEIGHTS, "prior.embed") if num_classes else ""
    length = graph.constant("prior.step", np.array(1 / steps, np.float32))
    for step in range(steps):
        h = graph.linear(z, "prior.into")
        h = graph.add("Add", h, graph.constant(f"prior.time.{step}", graph.weights["prior.time"][step]))
        if label:
            h = graph.add("Add", h, label)
        h = graph.linear(graph.add("LeakyRelu", h, alpha=LEAK), "prior.hidden")
        h = graph.add("LeakyRelu", graph.add("Add", h, graph.weight("prior.bias")), alpha=LEAK)
        z = graph.add("Add", z, graph.add("Mul", graph.linear(h, "prior.out"), length))
    return z


def _add_residual(graph: _Graph, x: str, name: str, group: int) -> str:
    """Add the branch of a ResidualBlock, or of a Bottleneck where `group` is not 0."""
    if not group:
        h = graph.add("LeakyRelu", graph.conv(x, f"{name}.conv1", f"{name}.bias"), alpha=LEAK)
        return graph.conv(h, f"{name}.conv2")
    inner = len(graph.weights[f"{name}.conv2.weight"])
    h = graph.add("LeakyRelu", graph.conv(x, f"{name}.conv1", f"{name}.bias1"), alpha=LEAK)
    h = graph.conv(h, f"{name}.conv2", f"{name}.bias2", groups=inner // group)
    return graph.conv(graph.add("LeakyRelu", h, alpha=LEAK), f"{name}.conv3")


def _add_dcgan(graph: _Graph, network: DCGANConfig, num_classes: int) -> str:
    """Add models.dcgan.DCGANGenerator, with BatchNorm as it is after training; return the name of its image."""
    z = graph.add("Concat", Z, CLASS_WEIGHTS, axis=1) if num_classes else Z
    h = graph.reshape(graph.linear(z, "project"), (network.widths[0], *scale_base(network.base)))
    layer = 0
    for _ in network.widths:
        names = [graph.weight(f"layers.{layer}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        h = graph.add("Relu", graph.add("BatchNormalization", h, *names, epsilon=BATCH_NORM_EPSILON))
        inputs = [h, graph.weight(f"layers.{layer + 2}.weight")]
        if f"layers.{layer + 2}.bias" in graph.weights:
            inputs.append(graph.weight(f"layers.{layer + 2}.bias"))
        h = graph.add("ConvTranspose", *inputs, kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1])
        layer += 3
    return graph.add("Tanh", h)


def _add_pixels(graph: _Graph, image: str) -> None:
    """Add what models.runtime.torchscript.to_uint8 does; ONNX's Round is half to even, too."""
    h = graph.add("Add", image, graph.constant("one", np.array(1.0, np.float32)))
    h = graph.add("Round", graph.add("Mul", h, graph.constant("half_range", np.array(127.5, np.float32))))
    lowest = graph.constant("lowest", np.array(0.0, np.float32))
    highest = graph.constant("highest", np.array(255.0, np.float32))
    h = graph.add("Cast", graph.add("Clip", h, lowest, highest), to=TensorProto.UINT8)
    graph.add("Transpose", h, perm=[0, 2, 3, 1], output=PIXELS)
