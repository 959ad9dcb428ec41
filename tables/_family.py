"""Families: the workloads that differ in channel counts only, and the ranges a model gives them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from latprof.workloads import Workload

__all__ = ["Family", "families_of", "family_text"]


@dataclass(frozen=True)
class Family:
    """One latency law: an op of one resolution, over 1..c_in and 1..c_out channels.

    Args:
        member: any workload of the family; it carries what is not channels.
        c_in, c_out: the largest counts the family can take.
        count: how many of the model's ops are in it.
    """

    member: Workload
    c_in: int
    c_out: int
    count: int

    @property
    def tied(self) -> bool:
        return self.member.tied

    @property
    def step(self) -> int:
        """Channel counts must be multiples of this: the groups of a grouped convolution."""
        return 1 if self.tied else self.member.groups

    @property
    def largest(self) -> Workload:
        return self.at(self.c_in, self.c_out)

    def at(self, c_in: float, c_out: float) -> Workload:
        """The member nearest to these counts; a tied family reads ``c_out`` alone."""
        c_in, c_out = self.nearest(c_in, self.c_in), self.nearest(c_out, self.c_out)
        return self.member.with_channels(c_out if self.tied else c_in, c_out)

    def nearest(self, count: float, limit: int) -> int:
        """The legal count nearest to ``count``, up to ``limit``."""
        # One channel per group is a depthwise convolution, and one channel in all an ordinary
        # one: other families.
        depthwise = self.member.depthwise
        least = 2 if depthwise else 2 * self.step if self.step > 1 else 1
        return min(max(round(count / self.step) * self.step, least), limit)


def families_of(workloads: Iterable[Workload]) -> list[Family]:
    """The families of a model's full-size ops, in order of first appearance."""
    members: dict[str, list[Workload]] = {}
    for workload in workloads:
        members.setdefault(workload.family, []).append(workload)
    return [_family(group) for group in members.values()]


def _family(group: Sequence[Workload]) -> Family:
    c_in, c_out = (max(w.channels[axis] for w in group) for axis in (0, 1))
    return Family(group[0], c_in, c_out, len(group))


def family_text(workload: Workload) -> str:
    """A family as a person would say it: ``conv2d.k3 14x14 stride=2``; defaults are left out."""
    in_label = {"kind", "op", "kernel", "dtype", "weight_bits", "pattern"}
    shown = {"h", "w", *in_label, *workload.channel_fields}
    defaults = {f.name: f.default for f in dataclasses.fields(workload)}
    fields = workload.to_dict()
    size = [f"{fields['h']}x{fields['w']}"] if "h" in fields else []
    rest = [f"{k}={v}" for k, v in fields.items() if k not in shown and v != defaults[k]]
    return " ".join([workload.label, *size, *rest])
