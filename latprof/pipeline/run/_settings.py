"""What a run is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from torch import nn

from latprof.compress import (
    Block,
    Gradual,
    LowRank,
    Masks,
    Method,
    Prune,
    Quantize,
    Scheme,
    SchemeTarget,
    Sparse,
    TrainSettings,
    trace,
)
from latprof.compress.cost import Budget
from latprof.compress.space import layers_of, named_blocks
from latprof.errors import UsageError
from latprof.pipeline.run._keep import BLOCKS, Keep, OneObjective, SearchSettings, lowest_budget
from latprof.surrogate import Surrogate
from latprof.tables import LatencyTable
from latprof.vocabulary import check_number

__all__ = ["Settings", "named_settings"]


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do; ``latprof compress`` reads it from RUN.toml.

    Args:
        budget: ``5 ms``, ``500/s``, ``60%``, ``macs=50%``, ...; several with commas between.
        blocks: what may be done to the network.
        scheme: a function that returns the blocks, in place of them; a run resolves it once, see
            ``named_settings``.
        method: how units are chosen.
        coefficient, temperature: of the distillation from the original.
        save_every_s: seconds of training that a kill may cost.
        trail: networks to save on the way, evenly between the original and the budget.
        int8: files are int8 ones, and a latency is theirs.
        batch: rows of a training batch, of data that is a Dataset.
        keep: ``-1%``, ``91%``, ...: the best objective that keeps this is searched, and ``budget``
            is what the masks pass on their way; empty: ``budget`` is met.
        objective: of a search; a name, or (network, file) -> number; or several of them.
        search: how it samples.
        why: the file that a run ends with is explained, where that takes a small part of its time.
    """

    budget: str = "60%"
    blocks: tuple[Block, ...] = (Prune(),)
    method: Method = field(default_factory=Masks)
    masks: TrainSettings = field(default_factory=lambda: TrainSettings(3, lr=2e-3, final=0.5))
    fine_tune: TrainSettings = field(default_factory=lambda: TrainSettings(2, lr=2e-3))
    coefficient: float = 0.5
    temperature: float = 3.0
    seed: int = 0
    save_every_s: float = 20.0
    trail: int = 0
    int8: bool = False
    batch: int = 32
    keep: str = ""
    objective: OneObjective | tuple[OneObjective, ...] = "latency"
    search: SearchSettings = field(default_factory=SearchSettings)
    scheme: Scheme | None = None
    why: bool = True

    def __post_init__(self) -> None:
        for text in self.budgets:
            Budget.parse(text)  # a typo is reported before anything is measured
        check_number("coefficient", self.coefficient, least=0.0, most=1.0)
        check_number("temperature", self.temperature, above=0.0)
        check_number("save_every_s", self.save_every_s, least=0.0)
        check_number("seed", self.seed, least=0)
        check_number("trail", self.trail, least=0)
        check_number("batch", self.batch, least=1)
        lowest_budget(self.objective)
        if self.keep:
            Keep.parse(self.keep)
            self.search.searcher(len(self.objectives))
            names = list(map(_name, self.objectives))
            if len(set(names)) < len(names):
                raise UsageError(f"objective is {names}; expected each once")
            self._require_levels()

    @property
    def budgets(self) -> list[str]:
        return [text.strip() for text in self.budget.split(",")]

    @property
    def objectives(self) -> tuple[OneObjective, ...]:
        """All of them."""
        return self.objective if isinstance(self.objective, tuple) else (self.objective,)

    def at(self, values: Mapping[str, Any]) -> Settings:
        """The settings at a point of ``search.space``: ``lr``, ``mask_share``, ``divisor``, and
        ``blocks`` as names with + between."""
        found = self
        if (lr := values.get("lr")) is not None:
            found = replace(found, fine_tune=replace(found.fine_tune, lr=lr))
        if (share := values.get("mask_share")) is not None:
            epochs = self.masks.epochs + self.fine_tune.epochs
            of_masks = min(max(round(share * epochs), 1), epochs - 1)
            found = replace(
                found,
                masks=replace(found.masks, epochs=of_masks),
                fine_tune=replace(found.fine_tune, epochs=epochs - of_masks),
            )
        blocks = found.blocks
        if (names := values.get("blocks")) is not None:
            given = {type(block): block for block in blocks}
            defaults = [BLOCKS[name] for name in names.split("+")]
            blocks = tuple(given.get(type(block), block) for block in defaults)
        if (divisor := values.get("divisor")) is not None:
            blocks = tuple(
                replace(b, divisor=divisor) if isinstance(b, Prune | LowRank) else b for b in blocks
            )
        return replace(found, blocks=blocks)

    @property
    def thins(self) -> bool:
        """Whether weights may become zeros, or have fewer bits: a packed file saves them."""
        return any(isinstance(block, (Sparse, Quantize)) for block in self.blocks)

    @property
    def times_few_bits(self) -> bool:
        """Whether weights of few bits are to save latency."""
        bits = any(isinstance(block, Quantize) for block in self.blocks)
        return bits and bool(self._kinds - {"bytes", "params", "macs", "memory"})

    @property
    def of_bytes(self) -> bool:
        """Whether a budget is of bytes."""
        return "bytes" in self._kinds

    @property
    def of_latency(self) -> bool:
        """Whether a budget is of the latency at the example inputs."""
        return "latency" in self._kinds

    @property
    def of_memory(self) -> bool:
        """Whether a budget is of memory."""
        return "memory" in self._kinds

    @property
    def _kinds(self) -> set[str]:
        """What the budgets are of."""
        return {Budget.parse(text).kind for text in self.budgets}

    def to_text(self) -> dict[str, str]:
        """{setting: its value as text}, for the fingerprint of a run folder."""
        texts = {f.name: repr(getattr(self, f.name)) for f in fields(self)}
        if self.batch == Settings.batch:
            del texts["batch"]  # run folders from before this could be chosen go on
        del texts["scheme"]  # the blocks that it returned are here
        del texts["why"]  # nothing is trained otherwise
        del texts["search"]  # a study goes on with more samples, and by another searcher
        if self.keep:
            texts["objective"] = ", ".join(map(_name, self.objectives))
            if not self.search.space.is_empty:
                texts["space"] = repr(self.search.space)
            texts["held_out"] = repr(self.search.held_out)
            return texts
        del texts["keep"], texts["objective"]
        return texts

    def _require_levels(self) -> None:
        """A search needs masks that pass every level on their way."""
        method = self.method
        if not isinstance(method, Masks | Gradual) or (
            isinstance(method, Masks) and not method.projections
        ):
            raise UsageError(
                f"keep with method {method!r}: its masks pass no levels on the way down; expected "
                "masks with projections, or gradual"
            )
        if self.trail:
            raise UsageError("trail beside keep; the samples of a search are such networks")


def named_settings(
    settings: Settings,
    model: nn.Module,
    example_inputs: Any,
    surrogate: Surrogate,
    table: LatencyTable,
) -> Settings:
    """The settings, their scheme called and their predicates asked.

    Raises:
        UsageError: a function fails, or accepts no layer.
    """
    blocks = named_blocks(
        settings.blocks if settings.scheme is None else settings.scheme,
        lambda: layers_of(model, trace(model, example_inputs), surrogate),
        SchemeTarget(table.target, table),
    )
    return replace(settings, blocks=blocks, scheme=None)


def _name(value: OneObjective) -> str:
    if isinstance(value, str):
        return value
    return str(getattr(value, "__qualname__", type(value).__qualname__))
