"""What a compression run found: its networks, its budgets, its layers. Pure data, versioned."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from latprof.errors import UsageError
from latprof.vocabulary._advice import AdviceResult
from latprof.vocabulary._class_result import ClassResult
from latprof.vocabulary._files import replace_file
from latprof.vocabulary._json_files import checksum
from latprof.vocabulary._pretrained import push_to_hub, save_pretrained
from latprof.vocabulary._search_result import SearchResult
from latprof.vocabulary._target import Target

__all__ = [
    "BudgetOutcome",
    "LayerResult",
    "NetworkResult",
    "RunResult",
    "StaircaseResult",
    "WidthResult",
]

# Format history of result.json
#   1  one object with a key per network, without a version
#   2  ``format``; ``networks`` as a list, in the order in which they are shown
#   3  ``memory_bytes`` and ``energy_j`` of networks; ``missing``
_FORMAT = 3
_OLD_NAMES = ("original", "uniform", "compressed")


@dataclass(frozen=True)
class NetworkResult:
    """One network of a run, exported and measured.

    Args:
        name: ``original``, ``uniform``, ``compressed``, or ``trail/1`` and so on.
        accuracy: the run's ``metric`` on the test set; of a classification 0 to 1.
        latency_s: measured, seconds; all networks of a run are timed in turns.
        predicted_s: by the table's surrogate, seconds.
        params: parameters that are left, zeros included.
        macs: multiply-accumulates.
        file: the exported file.
        non_zeros: parameters that are not zero.
        bytes: of the file.
        gzip_bytes: what ``gzip -9`` would make of the file.
        memory_bytes: peak memory on the target.
        energy_j: joules per inference on the target. The last five are None in results of older
            versions; the last two also where they were not measured, see ``RunResult.missing``.
    """

    name: str
    accuracy: float
    latency_s: float
    predicted_s: float
    params: int
    macs: int
    file: str
    non_zeros: int | None = None
    bytes: int | None = None
    gzip_bytes: int | None = None
    memory_bytes: float | None = None
    energy_j: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.latency_s) and self.latency_s > 0):
            raise UsageError(f"{self.name}: latency_s is {self.latency_s!r}; expected seconds > 0")


@dataclass(frozen=True)
class BudgetOutcome:
    """One budget of a run, and what was reached of it.

    Args:
        kind: ``latency``, ``macs``, ``params``, ``bytes`` or ``memory``.
        text: as it was asked for.
        limit, reached: in seconds, MACs, parameters or bytes.
    """

    kind: str
    text: str
    limit: float
    reached: float

    @property
    def met(self) -> bool:
        return self.reached <= self.limit


@dataclass(frozen=True)
class WidthResult:
    """Units of one group before and after; a residual block is a group of one."""

    group: str
    before: int
    after: int


@dataclass(frozen=True)
class LayerResult:
    """One op of the compressed network, measured alone beside its prediction.

    Args:
        before, after: channels (in, out).
        latency_s: seconds; None where no reading could be used.
    """

    module: str
    op: str
    before: tuple[int, int]
    after: tuple[int, int]
    predicted_s: float
    latency_s: float | None


@dataclass(frozen=True)
class StaircaseResult:
    """Predicted latency of the whole network along one group's width, the others as they ended.

    Args:
        after: the width that was chosen.
        choices: widths that the run chooses from.
        counts, latency_s: every width that was looked up, and its seconds.
    """

    group: str
    after: int
    choices: tuple[int, ...]
    counts: tuple[int, ...]
    latency_s: tuple[float, ...]


@dataclass(frozen=True)
class RunResult:
    """What ``latprof compress`` and ``latprof demo`` found; ``result.json`` of a run folder.

    Args:
        target: what was measured on.
        networks: the original first, then those of the trail, then the others; see ``network``.
        budgets: one outcome per budget asked for; none of a search.
        detail: the background load during the timing; empty where there was none.
        widths: of every group that could shrink.
        layers: every op of the compressed network.
        staircases: of the groups whose width decides most.
        agreement: {pair of networks: largest relative difference of their outputs}.
        method: how units were chosen; empty in results of older versions.
        ratio_before_fix: largest cost over its budget just before units were chosen for good.
        metric: what ``accuracy`` of the networks is.
        higher_is_better: the direction in which it improves.
        search: its samples, where the best network that keeps its accuracy was asked for.
        classes: of a classification: each class before and after.
        missing: {``memory`` or ``energy``: why the target does not tell it}.
        advice: what slows the compressed file most; empty where that was not looked into.

    Example:
        >>> result = latprof.compress("run.toml")      # doctest: +SKIP
        >>> result.compressed.latency_s, result.met    # doctest: +SKIP
        (0.000271, True)
    """

    target: Target
    networks: tuple[NetworkResult, ...]
    budgets: tuple[BudgetOutcome, ...]
    detail: str = ""
    widths: tuple[WidthResult, ...] = ()
    layers: tuple[LayerResult, ...] = ()
    staircases: tuple[StaircaseResult, ...] = ()
    agreement: Mapping[str, float] = dataclasses.field(default_factory=dict, hash=False)
    method: str = ""
    ratio_before_fix: float | None = None
    metric: str = "accuracy"
    higher_is_better: bool = True
    search: SearchResult | None = None
    classes: tuple[ClassResult, ...] = ()
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    advice: tuple[AdviceResult, ...] = ()

    def __post_init__(self) -> None:
        names = [n.name for n in self.networks]
        if len(set(names)) < len(names) or not {"original", "compressed"} <= set(names):
            raise UsageError(
                f"a run's networks are {', '.join(names) or 'none'}; expected original and "
                "compressed among them, each once"
            )

    def network(self, name: str) -> NetworkResult:
        """The network of this name. Raises KeyError where the run has none."""
        return {n.name: n for n in self.networks}[name]

    @property
    def original(self) -> NetworkResult:
        return self.network("original")

    @property
    def compressed(self) -> NetworkResult:
        return self.network("compressed")

    @property
    def trail(self) -> tuple[NetworkResult, ...]:
        """Networks left on the way to the budget, from the largest."""
        return tuple(n for n in self.networks if "/" in n.name)

    @property
    def latency_budget_s(self) -> float | None:
        """Seconds of the first latency budget; None where no budget is a latency."""
        return next((b.limit for b in self.budgets if b.kind == "latency"), None)

    @property
    def met(self) -> bool:
        """Whether every budget was met; of a search, whether the network keeps the floor."""
        return all(b.met for b in self.budgets) and (self.search is None or self.search.kept)

    def save_pretrained(self, folder: str | Path, name: str = "compressed") -> Path:
        """Copy a network of the run folder into a folder of its own, which
        ``latprof.load_shrunk`` loads: recipe, weights, and a README.md with its figures.

        Args:
            name: ``compressed``, or one of the trail, ``trail/2``.

        Raises:
            UsageError: no such network, or its files are not in the run folder any more.

        Example:
            >>> result = latprof.RunResult.load(Path("runs/first/result.json"))  # doctest: +SKIP
            >>> result.save_pretrained("small")                                # doctest: +SKIP
        """
        return save_pretrained(self, Path(folder), name)

    def push_to_hub(self, repository: str, name: str = "compressed", **settings: Any) -> str:
        """Put the same files on the Hugging Face hub; needs huggingface_hub and a login.

        Args:
            repository: ``user/name``.
            name: see save_pretrained.
            settings: of ``huggingface_hub.HfApi.create_repo``: ``private`` and others.

        Returns:
            The repository's address.

        Raises:
            UsageError: the hub refuses, or as save_pretrained. MissingExtraError: see above.
        """
        return push_to_hub(self, repository, name, **settings)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, inverse of from_dict; what ``--json`` prints."""
        fields = dataclasses.asdict(dataclasses.replace(self, agreement={}, missing={}))
        maps = {"agreement": dict(self.agreement), "missing": dict(self.missing)}
        data = {**fields, "target": self.target.to_dict(), **maps}
        return {"format": _FORMAT, "sha256": checksum(data), **data}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of to_dict; reads formats 1 and 2 too.

        Raises:
            UsageError: another format, or fields missing.
        """
        version = data.get("format", 1)
        if version not in range(1, _FORMAT + 1):
            raise UsageError(f"format is {version!r}; expected 1 to {_FORMAT}; update latprof")
        if version > 1:
            held = {k: v for k, v in data.items() if k not in ("format", "sha256")}
            if checksum(held) != data.get("sha256"):
                raise UsageError("its checksum does not fit: it is damaged, or was edited")
        try:
            return cls(
                target=Target.from_dict(data["target"]),
                networks=tuple(NetworkResult(**n) for n in _networks(data, version)),
                budgets=tuple(BudgetOutcome(**b) for b in data["budgets"]),
                detail=data["detail"],
                widths=tuple(WidthResult(**w) for w in data["widths"]),
                layers=tuple(
                    LayerResult(**{**r, "before": tuple(r["before"]), "after": tuple(r["after"])})
                    for r in data["layers"]
                ),
                staircases=tuple(
                    StaircaseResult(
                        row["group"],
                        row["after"],
                        *(tuple(row[key]) for key in ("choices", "counts", "latency_s")),
                    )
                    for row in data["staircases"]
                ),
                agreement=dict(data.get("agreement", {})),
                method=data.get("method", ""),
                ratio_before_fix=data.get("ratio_before_fix"),
                metric=data.get("metric", "accuracy"),
                higher_is_better=data.get("higher_is_better", True),
                search=SearchResult.from_dict(found) if (found := data.get("search")) else None,
                classes=tuple(ClassResult(**c) for c in data.get("classes", ())),
                missing=dict(data.get("missing", {})),
                advice=tuple(AdviceResult(**a) for a in data.get("advice", ())),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as exc:
            raise UsageError(f"not a run's result: {type(exc).__name__}: {exc}") from exc

    def save(self, path: Path) -> Path:
        """Write it as JSON, whole or not at all."""
        return replace_file(path, (json.dumps(self.to_dict(), indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote, by this or the former version.

        Raises:
            UsageError: in one line: missing, damaged, or of another version.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(data, dict):
                raise UsageError(f"it holds {type(data).__name__}; expected an object")
            return cls.from_dict(data)
        except FileNotFoundError as exc:
            raise UsageError(
                f"{path.parent} holds no finished run: no {path.name}; expected a folder that "
                "latprof compress or latprof demo left"
            ) from exc
        except (OSError, ValueError, UsageError) as exc:
            raise UsageError(
                f"{path} cannot be read: {exc}; run the same command again to write it anew"
            ) from exc


def _networks(data: Mapping[str, Any], version: int) -> list[dict[str, Any]]:
    """Format 1 had a key per network, and a list for the trail."""
    if version > 1:
        return list(data["networks"])
    named = [{"name": name, **data[name]} for name in _OLD_NAMES if name in data]
    return [*named[:1], *data["trail"], *named[1:]]
