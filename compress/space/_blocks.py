"""What may be done to a network: the building blocks of Nasery et al., Tables 1 and 2."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latprof.compress.space._counts import check_count
from latprof.errors import UsageError

if TYPE_CHECKING:
    from latprof.compress.space._layer_info import LayerInfo

__all__ = [
    "SCALE_BLOCK",
    "AcceptedNames",
    "Block",
    "Depth",
    "LowRank",
    "Predicate",
    "Prune",
    "Quantise",
    "Quantize",
    "Sparse",
    "Which",
]


class AcceptedNames(tuple[str, ...]):
    """Layers that a predicate accepted: those among them that a block cannot reach are left."""

    __slots__ = ()


#: What a layer is chosen by.
Predicate = Callable[["LayerInfo"], bool]
#: Names and patterns (fnmatch) of modules, or a predicate.
Which = tuple[str, ...] | Predicate

_INITS = ("importance", "one", "uniform")
#: Bits of a weight that files store: none, of integers, and of float16.
_WIDTHS = frozenset({*range(9), 16})
_GRIDS = ("even", "integer", "symmetric")
#: Inputs that share a step.
SCALE_BLOCK = 32
_SCALES = ("tensor", "channel", f"block-{SCALE_BLOCK}")
_HALVES = ("float16", "bfloat16")
#: Where the masks of ranks may start besides.
_SVD = "svd"


@dataclass(frozen=True)
class Block:
    """What every block has.

    Args:
        count: how a mask counts its units: ``l1l2`` (the paper's), ``hoyer_square``, ``l1``.
        init: masks start at ``one``; ``uniform`` in [0, 0.5] (the paper's App. B); or in
            proportion to each unit's ``importance``. The network computes the same in all
            three, for a mask counts relative to its start.
    """

    count: str = "l1l2"
    init: str = "importance"

    def __post_init__(self) -> None:
        check_count(self.count)
        self._check_which()
        if self.init == _SVD and not isinstance(self, LowRank):
            raise UsageError("init is 'svd'; only LowRank has singular values to start from")
        if self.init not in (*_INITS, _SVD):
            raise UsageError(f"init is {self.init!r}; expected importance, one or uniform")

    def _check_which(self) -> None:
        """One name alone is a tuple of it."""
        for field in ("layers", "exclude"):
            given = getattr(self, field, ())
            if isinstance(given, (str, list)):
                given = (given,) if isinstance(given, str) else tuple(given)
                object.__setattr__(self, field, given)
            if callable(given) or all(isinstance(name, str) for name in given):
                continue
            raise UsageError(
                f"{type(self).__name__}: {field} is {given!r:.80}; expected names or patterns of "
                "modules, or one function of a LayerInfo"
            )


@dataclass(frozen=True)
class Prune(Block):
    """Remove channels of whole groups: W diag(alpha).

    Args:
        divisor: counts are multiples of it. Off multiples of 4 runtimes leave their fast paths
            (ONNX Runtime's depthwise convolution takes ten times as long there).
        exclude: names or patterns (fnmatch) of modules that stay whole, inputs and outputs; or a
            predicate of LayerInfo.
    """

    divisor: int = 4
    exclude: Which = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_divisor(self.divisor)


@dataclass(frozen=True)
class LowRank(Block):
    """Factor weights: U diag(beta) V, initialized by SVD.

    A layer becomes two where two cost less on the target, and stays one where they do not.

    Args:
        init: also ``svd``: in proportion to the singular values of each weight.
        divisor: ranks are multiples of it.
        layers: names or patterns of the layers it may factor, or a predicate of LayerInfo: linear
            ones, convolutions that are not grouped, transposed ones, embeddings.
    """

    divisor: int = 4
    layers: Which = ("*",)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_divisor(self.divisor)


@dataclass(frozen=True)
class Depth(Block):
    """Drop whole residual blocks: x + beta (block(x) - x), with one beta in [0, 1] for each.

    A block that is kept computes what it did, beta = 1; one that is dropped is an identity, and
    none of its ops is left. These are the modules that return their input, or their input
    normalized, where all their weights are zero: those of ResNets and MobileNets whose shortcut is
    the identity, and transformer layers. Not in the paper; a scale per residual block, pressed to
    zero, is that of Huang & Wang, 2018 (arXiv:1707.01213), without regard to a block's cost.

    Args:
        count, init: fixed; one mask alone is counted by its value, from 1.
        layers: names or patterns of the blocks it may drop; or a predicate of LayerInfo, which
            accepts every layer in them.
    """

    count: str = "l1"
    init: str = "one"
    layers: Which = ("*",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.count, self.init) != ("l1", "one"):
            raise UsageError(
                f"Depth has count {self.count!r} and init {self.init!r}; expected l1 and one, "
                "for other counts of a single mask have no gradient: leave both out"
            )


@dataclass(frozen=True)
class Sparse(Block):
    """Zero weights one by one or in blocks: W * beta. Shapes stay, so that no latency is saved
    on runtimes without sparse kernels: it takes a budget of ``params`` or ``bytes``.

    Args:
        pattern: ``unstructured``; ``RxC``, blocks of R output by C input channels in one place of
            the kernel; or ``N:M``, at most N of every M neighboring input channels, for each
            output and each place of the kernel, which is reached without a budget. Both are chosen
            over the channels that stay, whose counts are multiples of R, C or M. A grouped
            convolution is thinned group by group.
        layers: names or patterns of the layers it may thin, or of their parameters where a layer
            has several, such as ``lstm.weight_hh_l0``; or a predicate of LayerInfo.
    """

    pattern: str = "unstructured"
    layers: Which = ("*",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pattern != "unstructured" and self.block is None and self.n_of_m is None:
            raise UsageError(
                f"pattern is {self.pattern!r}; expected unstructured, blocks like 4x4, or N:M "
                "with N < M like 2:4"
            )

    @property
    def is_patterned(self) -> bool:
        """Whether zeros lie in tiles, or N of every M."""
        return self.pattern != "unstructured"

    @property
    def block(self) -> tuple[int, int] | None:
        """(R, C) of a pattern of blocks."""
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", self.pattern)
        return (int(match[1]), int(match[2])) if match else None

    @property
    def n_of_m(self) -> tuple[int, int] | None:
        """(N, M) of a fixed pattern."""
        match = re.fullmatch(r"([1-9]\d*):([1-9]\d*)", self.pattern)
        return (int(match[1]), int(match[2])) if match and int(match[1]) < int(match[2]) else None


@dataclass(frozen=True)
class Quantize(Block):
    """Give each weight the fewest bits that do: nested bit widths with learned clip ranges.

    The size of a packed file falls, with a budget of ``bytes``; and the latency of those linear
    layers whose rows in the table are faster with weights of few bits (``latprof profile --bits``).
    What int8 saves in latency is a matter of the exported file: ``export_int8``.

    Args:
        bits: ascending widths that a weight may have, 1 to 8, or 16, which is ``half``; it may also
            stay as it is. A file stores 3 bits as 4, and 5 to 7 as 8. With 0 among them, a layer
            that lies in a residual block may become zeros, and takes no bytes; elsewhere a layer
            has the other widths.
        grid: what numbers a width of 2 to 8 bits has: ``integer``, multiples of a step from
            -z to 2^b - 1 - z; ``symmetric``, from -(2^(b-1) - 1) to 2^(b-1) - 1; ``even``, the
            paper's, 2^b even steps between two learned ends, where zero may lie between two.
        layers: names or patterns of the layers it may quantize, or of their parameters where a
            layer has several, such as ``lstm.weight_hh_l0``; or a predicate of LayerInfo.
        scales: what has a step of its own: the whole ``tensor``; each output ``channel``, and each
            row of an embedding; or ``block-32``, each 32 neighboring inputs of each output. From
            2 bits on, of whole numbers of steps.
        half: what 16 bits are: ``float16``, or ``bfloat16`` with the range of float32.
    """

    bits: tuple[int, ...] = (1, 2, 4, 8, 16)
    layers: Which = ("*",)
    grid: str = "integer"
    scales: str = "tensor"
    half: str = "float16"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits in ((), (0,)) or list(self.bits) != sorted(set(self.bits) & _WIDTHS):
            raise UsageError(
                f"bits are {self.bits}; expected ascending widths from 1 to 8, and 16 (float16); "
                "0 first where layers of residual blocks may vanish"
            )
        if self.grid not in _GRIDS:
            raise UsageError(f"grid is {self.grid!r}; expected one of {', '.join(_GRIDS)}")
        if self.scales not in _SCALES:
            raise UsageError(f"scales is {self.scales!r}; expected one of {', '.join(_SCALES)}")
        if self.half not in _HALVES:
            raise UsageError(f"half is {self.half!r}; expected one of {', '.join(_HALVES)}")
        if self.scales != "tensor" and (self.grid == "even" or 1 in self.bits):
            raise UsageError(
                f"scales is {self.scales!r} with grid {self.grid!r} and bits {self.bits}; expected "
                "widths from 2 on and another grid than even, whose values are multiples of a scale"
            )


def _check_divisor(divisor: int) -> None:
    if isinstance(divisor, bool) or not isinstance(divisor, int) or divisor < 1:
        raise UsageError(f"divisor is {divisor!r}; expected a whole number of at least 1")


#: The former spelling.
Quantise = Quantize
