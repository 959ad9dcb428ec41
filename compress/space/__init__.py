"""What may go: blocks, layers, options, residual blocks."""

from __future__ import annotations

from latprof.compress.space._blocks import (
    SCALE_BLOCK,
    Block,
    Depth,
    LowRank,
    Prune,
    Quantise,
    Quantize,
    Sparse,
)
from latprof.compress.space._counts import COUNTS, soft_counts
from latprof.compress.space._layer_info import (
    LAYER_COLUMNS,
    LayerInfo,
    Layers,
    layers,
    layers_of,
)
from latprof.compress.space._layers import Layer
from latprof.compress.space._reach import Unreached, unreached
from latprof.compress.space._residual import residual_blocks
from latprof.compress.space._scheme import Scheme, SchemeTarget, named_blocks
from latprof.compress.space._space import Option, Space, space_of

__all__ = [
    "COUNTS",
    "LAYER_COLUMNS",
    "SCALE_BLOCK",
    "Block",
    "Depth",
    "Layer",
    "LayerInfo",
    "Layers",
    "LowRank",
    "Option",
    "Prune",
    "Quantise",
    "Quantize",
    "Scheme",
    "SchemeTarget",
    "Space",
    "Sparse",
    "Unreached",
    "layers",
    "layers_of",
    "named_blocks",
    "residual_blocks",
    "soft_counts",
    "space_of",
    "unreached",
]
