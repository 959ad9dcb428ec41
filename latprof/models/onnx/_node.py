"""One node of an ONNX graph, as it becomes torch: its attributes and its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

__all__ = ["Node", "UnsupportedError"]

#: What stands for an input: a constant, or what the graph computes.
Value = NDArray[Any] | fx.Node | None


class UnsupportedError(Exception):
    """A node has no counterpart in torch here; the text says what of it."""


@dataclass(frozen=True)
class Node:
    """A node with its inputs.

    Args:
        op: ONNX's name.
        name: of the node's first output, as an attribute of a module may be called.
        attributes: by name.
        inputs: constants as arrays.
        in_shapes, out_shapes: sizes; None where they are not known.
        opset: version of ONNX's ops.
        root: holds what is learned.
        graph: of torch.
    """

    op: str
    name: str
    attributes: Mapping[str, Any]
    inputs: tuple[Value, ...]
    in_shapes: tuple[tuple[int, ...] | None, ...]
    out_shapes: tuple[tuple[int, ...] | None, ...]
    opset: int
    root: nn.Module
    graph: fx.Graph

    def has(self, index: int) -> bool:
        """Whether this optional input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def is_constant(self, index: int) -> bool:
        return self.has(index) and isinstance(self.inputs[index], np.ndarray)

    def constant(self, index: int) -> NDArray[Any]:
        """An input that must be known beforehand.

        Raises:
            UnsupportedError: it is computed.
        """
        value = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(value, np.ndarray):
            raise UnsupportedError(f"input {index} is computed")
        return value

    def numbers(self, index: int, attribute: str) -> list[int] | None:
        """Whole numbers of an input, or of the attribute that older opsets have in its place."""
        if self.has(index):
            return [int(n) for n in self.constant(index).reshape(-1)]
        found = self.attributes.get(attribute)
        return None if found is None else [int(n) for n in found]

    def tensor(self, index: int) -> fx.Node:
        """An input as a tensor; a constant is learned where it is of floats."""
        value = self.inputs[index]
        if isinstance(value, fx.Node):
            return value
        if value is None:
            raise UnsupportedError(f"input {index} is not given")
        name = f"{self.name}_{index}"
        tensor = torch.from_numpy(np.array(value))
        if tensor.is_floating_point() and tensor.numel() > 1:
            self.root.register_parameter(name, nn.Parameter(tensor))
        else:
            self.root.register_buffer(name, tensor)
        return self.graph.get_attr(name)

    def layer(self, module: nn.Module, *args: Any) -> fx.Node:
        """A call of a module that holds this node's weights."""
        self.root.add_module(self.name, module)
        return self.graph.call_module(self.name, args)

    def call(self, function: Any, *args: Any, **kwargs: Any) -> fx.Node:
        return self.graph.call_function(function, args, kwargs)
