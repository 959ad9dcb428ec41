"""Changes to a copy of a model: nodes by their first output, constants by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.pipeline.explaining.graph._model import inputs_of

__all__ = ["Edit"]


class Edit:
    """One copy of a model, or of a slice of it, while it is changed.

    Args:
        onnx: the module.
        proto: onnx.ModelProto; it is changed.
    """

    def __init__(self, onnx: Any, proto: Any) -> None:
        self.onnx, self.proto, self.graph = onnx, proto, proto.graph
        self._taken = {out for node in self.graph.node for out in node.output}
        self._taken |= {tensor.name for tensor in self.graph.initializer}

    def node(self, output: str) -> Any:
        """The node that makes this value; KeyError where it is outside of a slice."""
        for node in self.graph.node:
            if output in node.output:
                return node
        raise KeyError(output)

    def make(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
        domain = attributes.pop("domain", "")
        node = self.onnx.helper.make_node(op, inputs, [output], domain=domain, **attributes)
        self._taken.add(output)
        return node

    def new_name(self, base: str) -> str:
        number, name = 0, f"{base}_new"
        while name in self._taken:
            number += 1
            name = f"{base}_new{number}"
        self._taken.add(name)
        return name

    def replace(self, outputs: Collection[str], nodes: Sequence[Any]) -> None:
        """Put ``nodes`` where the last of those that make ``outputs`` stood."""
        old = [i for i, n in enumerate(self.graph.node) if set(n.output) & set(outputs)]
        kept = list(self.graph.node)
        kept[old[-1] + 1 : old[-1] + 1] = nodes
        kept = [node for i, node in enumerate(kept) if i not in old]
        del self.graph.node[:]
        self.graph.node.extend(kept)
        self._drop_unused()

    def value(self, name: str) -> NDArray[Any]:
        found: NDArray[Any] = self.onnx.numpy_helper.to_array(self._tensor(name))
        return found

    def _tensor(self, name: str) -> Any:
        return next(tensor for tensor in self.graph.initializer if tensor.name == name)

    def hold(self, array: NDArray[Any], base: str) -> str:
        """A new constant; its name."""
        name = self.new_name(base)
        self.graph.initializer.append(self.onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def set_input(self, node: Any, index: int, array: NDArray[Any]) -> None:
        """A constant of the node's own in the place of what it reads there."""
        node.input[index] = self.hold(array, node.input[index])
        self._drop_unused()

    def set_attribute(self, node: Any, name: str, value: Any) -> None:
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, self.onnx.helper.make_attribute(name, value)])

    def _drop_unused(self) -> None:
        used = {name for node in self.graph.node for name in inputs_of(node)}
        used |= {out.name for out in self.graph.output}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        if len(kept) < len(self.graph.initializer):
            copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept]
            del self.graph.initializer[:]
            self.graph.initializer.extend(copies)
