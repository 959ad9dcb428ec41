"""What a run is asked to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from latprof.compress import Block, Gradual, Masks, Method, Prune, Quantize, Sparse, TrainSettings
from latprof.compress.cost import Budget
from latprof.errors import UsageError
from latprof.pipeline.run._keep import Keep, SearchSettings, lowest_budget
from latprof.vocabulary import check_number

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do; ``latprof compress`` reads it from RUN.toml.

    Args:
        budget: ``5 ms``, ``60%``, ``macs=50%``, ...; several with commas between.
        blocks: what may be done to the network.
        method: how units are chosen.
        coefficient, temperature: of the distillation from the original.
        save_every_s: seconds of training that a kill may cost.
        trail: networks to save on the way, evenly between the original and the budget.
        int8: files are int8 ones, and a latency is theirs.
        batch: rows of a training batch, of data that is a Dataset.
        keep: ``-1%``, ``91%``, ...: the best objective that keeps this is searched, and ``budget``
            is what the masks pass on their way; empty: ``budget`` is met.
        objective: of a search; a name, or (network, file) -> number.
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
    objective: str | Callable[..., Any] = "latency"
    search: SearchSettings = field(default_factory=SearchSettings)
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
            self._require_levels()

    @property
    def budgets(self) -> list[str]:
        return [text.strip() for text in self.budget.split(",")]

    @property
    def thins(self) -> bool:
        """Whether weights may become zeros, or have fewer bits: a packed file saves them."""
        return any(isinstance(block, (Sparse, Quantize)) for block in self.blocks)

    @property
    def of_bytes(self) -> bool:
        """Whether a budget is of bytes."""
        return any(Budget.parse(text).kind == "bytes" for text in self.budgets)

    def check_files(self, suffix: str) -> None:
        """Raises UsageError where files of this suffix cannot save what is asked for."""
        if suffix == ".tflite" and self.thins and self.of_bytes:
            raise UsageError(
                f"budget {self.budget} is of bytes, and TFLite files store zeros and few bits as "
                "float32; expected Prune, LowRank or Depth alone, or a table of ONNX Runtime"
            )

    def to_text(self) -> dict[str, str]:
        """{setting: its value as text}, for the fingerprint of a run folder."""
        texts = {f.name: repr(getattr(self, f.name)) for f in fields(self)}
        if self.batch == Settings.batch:
            del texts["batch"]  # run folders from before this could be chosen go on
        del texts["why"]  # nothing is trained otherwise
        del texts["search"]  # a study goes on with more samples, and by another searcher
        if self.keep:
            texts["objective"] = _name(self.objective)
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


def _name(value: str | Callable[..., Any]) -> str:
    if isinstance(value, str):
        return value
    return str(getattr(value, "__qualname__", type(value).__qualname__))
