"""Ways of interpolating that are slower than another which gives nearly the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from latprof.pipeline.explaining.causes._candidate import Candidate, Option
from latprof.pipeline.explaining.graph import Edit, Model

__all__ = ["resize"]

#: (mode, how coordinates are mapped), simpler ones later.
_WAYS = (("linear", "half_pixel"), ("linear", "asymmetric"), ("nearest", "asymmetric"))


def resize(model: Model) -> Iterator[Candidate]:
    for node in model.nodes:
        if node.op_type != "Resize":
            continue
        mode = model.attribute(node, "mode", b"nearest").decode()
        mapped = model.attribute(node, "coordinate_transformation_mode", b"half_pixel").decode()
        if mapped == "tf_crop_and_resize":
            continue
        own = (mode, mapped)
        simpler = _WAYS[_WAYS.index(own) + 1 :] if own in _WAYS else _WAYS
        if mode == "nearest":
            simpler = _WAYS[2:] if own != _WAYS[2] else ()
        if not simpler:
            continue
        yield Candidate(
            "resize",
            f"Resize interpolates by {mode} at {mapped.replace('_', ' ')} coordinates",
            (node.output[0],),
            tuple(
                Option(
                    f"interpolate by {to} at {coordinates.replace('_', ' ')} coordinates",
                    _change(node, to, coordinates),
                    keeps=False,
                )
                for to, coordinates in simpler
            ),
        )


def _change(node: Any, mode: str, coordinates: str) -> Callable[[Edit], None]:
    def apply(edit: Edit) -> None:
        changed = edit.node(node.output[0])
        edit.set_attribute(changed, "mode", mode)
        edit.set_attribute(changed, "coordinate_transformation_mode", coordinates)
        if mode == "nearest":
            edit.set_attribute(changed, "nearest_mode", "floor")

    return apply
