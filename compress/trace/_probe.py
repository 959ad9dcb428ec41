"""Does the model's own code still work when channels are removed? Each group is tried.

Labels tell which channels can go together; whether the forward still runs at the new sizes
depends on code that a trace does not show: a view with a number in it, a head count kept in an
attribute. So of every group random channels are removed from a small copy, which must compute what
the masked model computes. Where it does not, the integers that modules keep beside their weights
are scaled with the group; a group that still fails stays whole, with the reason of the last try.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from latprof.compress.graph import Graph, Group
from latprof.compress.shrink import (
    compare_models,
    cut,
    is_conv1d,
    masked_forward,
    proof_inputs,
)
from latprof.errors import ShrinkError

__all__ = ["probe_groups"]

Attributes = dict[str, dict[str, int]]

#: Largest relative error of a group that follows; small weights can hide a mistake above it.
_MAX_ERROR = 2e-6


def probe_groups(model: nn.Module, graph: Graph) -> Graph:
    """The graph with the attributes that need to follow, and with groups that fail left whole."""
    probe = _Probe(model, graph)
    if not probe.fails(graph.prunable, {}):
        return graph
    failed: dict[int, str] = {}
    attributes: Attributes = {}
    good = [g for g in graph.prunable if g.unit == 1]
    suspects = [g for g in graph.prunable if g.unit > 1]
    if not suspects or probe.fails(good, {}):
        good, suspects = [], list(graph.prunable)
    checked = len(good)
    for family in _families(suspects):
        found, bad = probe.settle(family)
        for path, changes in found.items():
            attributes.setdefault(path, {}).update(changes)
        failed |= bad
        good += [g for g in family if g.index not in bad]
    if len(good) > checked and probe.fails(good, attributes):  # alone they follow, not together
        together: list[Group] = []
        for group in good:
            if reason := probe.fails([*together, group], attributes):
                failed[group.index] = reason
            else:
                together.append(group)
    groups = tuple(
        dataclasses.replace(g, prunable=False, reason=failed[g.index]) if g.index in failed else g
        for g in graph.groups
    )
    return probe.refresh(groups, attributes)


class _Probe:
    def __init__(self, model: nn.Module, graph: Graph) -> None:
        self.model, self.graph = model, graph
        self.inputs = proof_inputs(model, graph.inputs)
        self.generator = torch.Generator().manual_seed(0)
        self.nonzero = {
            name: torch.randn(p.shape, generator=self.generator).to(p.device, p.dtype) * 0.5
            for name, p in model.named_parameters()
            if p.numel() and p.is_floating_point() and float(p.detach().abs().max()) < 5e-3
        }  # a parameter of (almost) zeros would hide what happens behind it

    def fails(self, groups: Sequence[Group], attributes: Attributes) -> str:
        """Why the model cannot do without channels of these groups; empty where it can."""
        graph = dataclasses.replace(self.graph, attributes=attributes)
        for share in (0.5, 0.0):
            masks = self._masks(groups, share)
            try:
                small = cut(self.model, graph, masks, self.nonzero, share=True)
                forward = masked_forward(self.model, graph, masks, self.nonzero)
                found = compare_models(
                    self.model, small, self.inputs, forward=forward, limit=_MAX_ERROR
                )
            except ShrinkError as exc:
                return f"the code around it keeps its size: {exc.__cause__}".splitlines()[0][:200]
            except (RuntimeError, ValueError, TypeError) as exc:
                return f"it cannot be cut: {exc}".splitlines()[0][:200]
            del small  # before the next copy is made
            if found.fault:
                return found.fault[:200]
            if not found.holds:
                return "the code around it takes channels by position, which removal changes"
        return ""

    def settle(self, family: Sequence[Group]) -> tuple[Attributes, dict[int, str]]:
        """(attributes that the groups which follow need, {group that does not: why})."""
        options: list[Attributes] = [{}]
        if not (reason := self.fails(family, {})):
            return {}, {}
        for option in _options(self.model, family):
            options.append(option)
            if not (reason := self.fails(family, option)):
                return option, {}
        ends = (family[:1], family[-1:])
        if len(family) == 1 or all(self.fails(g, _only(o, g)) for g in ends for o in options):
            return {}, dict.fromkeys((g.index for g in family), reason)
        found: Attributes = {}
        bad: dict[int, str] = {}
        for group in family:  # some follow, some do not
            for option in options:
                if not (reason := self.fails([group], _only(option, [group]))):
                    found |= _only(option, [group])
                    break
            else:
                bad[group.index] = reason
        return found, bad

    def refresh(self, groups: tuple[Group, ...], attributes: Attributes) -> Graph:
        """The graph over these groups: what became unprunable counts as always there."""
        ops = []
        for op in self.graph.ops:
            mixing, offset = [], []
            for side, base in zip(op.mixing, op.offset, strict=True):
                stay = sum(n * groups[g].size for g, n in side.items() if not groups[g].prunable)
                mixing.append({g: n for g, n in side.items() if groups[g].prunable})
                offset.append(base + stay)
            ops.append(
                dataclasses.replace(
                    op, mixing=(mixing[0], mixing[1]), offset=(offset[0], offset[1])
                )
            )
        return dataclasses.replace(self.graph, groups=groups, ops=tuple(ops), attributes=attributes)

    def _masks(self, groups: Sequence[Group], share: float) -> list[Tensor]:
        chosen = {g.index for g in groups}
        masks = []
        for g in self.graph.groups:
            mask = torch.ones(g.size)
            if g.index in chosen:
                mask = (torch.rand(g.size, generator=self.generator) < share).float()
                mask[torch.randint(g.size, (1,), generator=self.generator)] = 1.0
            masks.append(mask)
        return masks


def _families(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Groups that the same code of different layers made."""
    families: dict[str, list[Group]] = defaultdict(list)
    for g in groups:
        families[re.sub(r"\d+", "*", g.name)].append(g)
    yield from families.values()


def _options(model: nn.Module, family: Sequence[Group]) -> Iterator[Attributes]:
    """Which attributes may hold the groups' sizes: by name first, then any that fits; those near
    the weights first, then in tuples and in modules further up."""
    names: tuple[Callable[[str], bool], ...] = (
        lambda name: "head" in name and not re.search("dim|size", name),
        lambda name: not re.search("head_dim|head_size|per_head|dim_head", name),
        lambda name: True,
    )
    before: list[Attributes] = [{}]
    for far in (False, True):
        found = [(g.index, *where) for g in family for where in _counts(model, g, far=far)]
        for fits in names:
            option: Attributes = {}
            for index, path, name in found:
                if fits(name):
                    option.setdefault(path, {})[name] = index
            if option not in before:
                before.append(option)
                yield option


def _counts(model: nn.Module, group: Group, *, far: bool) -> Iterator[tuple[str, str]]:
    """(module, attribute) pairs near the group's weights that hold a count of its units; with
    ``far`` also ``attribute[i]`` of tuples, and modules up to two levels further up."""
    parts = (*group.writers, *group.readers)
    slices = {int((p.index >= 0).sum()) for p in parts}
    each = max(1, min(slices) // group.size)
    fitting = {group.size} | slices | {n // each for n in slices}
    owners = {p.name.rpartition(".")[0] for p in parts}
    paths = owners | {path.rpartition(".")[0] for path in owners}
    for _ in range(2 if far else 0):
        paths |= {path.rpartition(".")[0] for path in paths}
    for path in sorted(paths):
        module = model.get_submodule(path)
        if type(module).__module__.startswith("torch.nn.modules") or is_conv1d(module):
            continue  # shrink itself knows what these keep
        for name, value in vars(module).items():
            if name.startswith("_"):
                continue
            if type(value) is int and value in fitting:
                yield path, name
            elif far and type(value) in (tuple, torch.Size):
                for i, one in enumerate(value):
                    if type(one) is int and one in fitting:
                        yield path, f"{name}[{i}]"


def _only(option: Attributes, groups: Sequence[Group]) -> Attributes:
    chosen = {g.index for g in groups}
    kept = {p: {n: g for n, g in a.items() if g in chosen} for p, a in option.items()}
    return {path: changes for path, changes in kept.items() if changes}
