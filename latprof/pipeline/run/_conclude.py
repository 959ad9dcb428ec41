"""The end of a run: its networks exported, measured side by side, and written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from latprof.compress import Classification, Compressor, workloads_of_file
from latprof.compress.cost import LatencyCost, MacsCost
from latprof.compress.space import Space
from latprof.compress.train import class_counts
from latprof.pipeline.run._deployment import Deployment
from latprof.pipeline.run._layers import layers, staircases
from latprof.pipeline.run._train_run import Compression
from latprof.vocabulary import (
    BudgetOutcome,
    ClassResult,
    NetworkResult,
    RunResult,
    SearchResult,
    WidthResult,
    gzip_bytes,
)

__all__ = ["conclude"]


def conclude(
    deployment: Deployment,
    networks: dict[str, tuple[nn.Module, list[int]]],
    done: Compression,
    test: Any,
    on_stage: Callable[[str], None] = lambda text: None,
    *,
    search: SearchResult | None = None,
    spaces: Mapping[str, Space] | None = None,
) -> RunResult:
    """Export networks, measure them in turns, and write ``result.json``.

    Args:
        networks: by name, each with its unit counts; among them ``original`` and ``compressed``.
            Those of the trail are measured with them.
        test: inputs (N, ...) and labels (N,), a Dataset or a DataLoader.
        on_stage: called with what is done now.
        search: what chose the compressed network, in place of budgets.
        spaces: of networks whose counts are not those of the compressed one's groups, by name.
    """
    comp = done.comp
    how = done.training.deployment
    deployment = replace(deployment, pack=how.pack, surrogate=how.surrogate)
    first, *rest = networks.items()
    every = dict([first]) | done.trail | dict(rest)
    on_stage(f"exporting and measuring {len(every)} networks side by side")
    files = {name: deployment.export(model, name) for name, (model, _) in every.items()}
    (timing,) = deployment.timings(files["original"])
    original_s, others = timing.latency_s, [name for name in every if name != "original"]
    ratios = deployment.ratios(files["original"], *(files[name] for name in others))
    share = {"original": 1.0, **dict(zip(others, ratios, strict=True))}
    spaces = spaces or {}
    for target in done.training.targets:
        done.training.export_at(target, networks["compressed"][0], "compressed")
    on_stage("measuring memory and energy")
    usage = {name: deployment.usage(files[name]) for name in ("original", "compressed")}
    on_stage("testing the networks")
    by_class = _by_class(deployment, every, test)
    figures = tuple(
        NetworkResult(
            name=name,
            accuracy=by_class[name].accuracy
            if by_class and not deployment.rounds_inputs(files[name])
            else deployment.accuracy(model, files[name], test),
            latency_s=original_s * share[name],
            predicted_s=_predicted_s(comp, files[name]),
            params=sum(p.numel() for p in model.parameters()),
            macs=round(_macs(comp, spaces.get(name, comp.space), counts)),
            file=str(files[name]),
            non_zeros=sum(int(p.count_nonzero()) for p in model.parameters()),
            bytes=files[name].stat().st_size,
            gzip_bytes=gzip_bytes(files[name]),
            memory_bytes=usage[name].memory_bytes if name in usage else None,
            energy_j=usage[name].energy_j if name in usage else None,
        )
        for name, (model, counts) in every.items()
    )
    on_stage("measuring the layers of the compressed network")
    result = RunResult(
        target=deployment.device.target,
        networks=figures,
        budgets=()
        if search is not None
        else _budgets(done, original_s, next(f for f in figures if f.name == "compressed")),
        detail=timing.detail,  # of the original, in turns with which all others are timed
        widths=tuple(WidthResult(**w) for w in comp.widths()),
        layers=tuple(layers(comp, deployment.device)),
        staircases=tuple(staircases(comp)),
        method=repr(comp.method),
        ratio_before_fix=float(comp.ratio_before_fix),
        metric=deployment.task.metric,
        higher_is_better=deployment.task.higher_is_better,
        search=search,
        classes=_classes(by_class["original"], by_class["compressed"]) if by_class else (),
        missing={n: w for n, w in usage["compressed"].missing.items() if n != "arena"},
    )
    result.save(deployment.folder / "result.json")
    return result


def _macs(comp: Compressor, space: Space, counts: list[int]) -> float:
    """Of a network of this space, which may be another than the compressor's."""
    return MacsCost(space).exact(counts, comp.goals.paying(counts) if space is comp.space else None)


@dataclass(frozen=True)
class _ByClass:
    """Of one network, (C,) each: rows of the test data, and those that are right."""

    rows: Tensor
    right: Tensor

    @property
    def accuracy(self) -> float:
        return float(self.right.sum()) / max(float(self.rows.sum()), 1.0)


def _by_class(
    deployment: Deployment, networks: Mapping[str, tuple[nn.Module, list[int]]], test: Any
) -> dict[str, _ByClass]:
    """Every network by class; empty of another task, or of int8 files, which are tested instead."""
    if type(deployment.task) is not Classification or deployment.int8 is not None:
        return {}
    return {name: _ByClass(*class_counts(model, test)) for name, (model, _) in networks.items()}


def _classes(before: _ByClass, after: _ByClass) -> tuple[ClassResult, ...]:
    figures = (before.rows.tolist(), before.right.tolist(), after.right.tolist())
    return tuple(
        ClassResult(label, count, right / count, left / count)
        for label, (count, right, left) in enumerate(zip(*figures, strict=True))
        if count
    )


def _predicted_s(comp: Compressor, file: Path) -> float:
    """What ``predict`` and ``verify`` say of the file, with the same table."""
    assert isinstance(comp.cost_model, LatencyCost)  # a run has a target
    workloads = workloads_of_file(file)
    return float(comp.cost_model.surrogate.predict_model(workloads).latency_s)


def _budgets(
    done: Compression, original_s: float, compressed: NetworkResult
) -> tuple[BudgetOutcome, ...]:
    comp, outcomes = done.comp, []
    counts = comp.counts()
    factored = comp.goals.paying(counts)
    for goal in comp.goals.each:
        is_latency = goal.cost is comp.cost_model
        follows = is_latency and not goal.budget.is_lowest
        limit = goal.budget.limit(original_s) if follows else goal.limit
        reached = compressed.latency_s if is_latency else goal.cost.exact(counts, factored)
        if goal.budget.kind == "bytes" and "bytes" in comp.measure:
            reached = compressed.bytes or reached  # of the file that is shipped
        if any(goal.budget.kind == target.kind for target in done.training.targets):
            reached = comp.measure[goal.budget.kind](done.small)
        if goal.budget.kind == "memory" and compressed.memory_bytes is not None:
            reached = compressed.memory_bytes
        outcomes.append(BudgetOutcome(goal.budget.kind, goal.budget.text, limit, reached))
    return tuple(outcomes)
