"""Nodes that no output of the file depends on, which the runtime computes nevertheless."""

from __future__ import annotations

from collections.abc import Iterator

from latprof.pipeline.explaining.causes._candidate import Candidate, Option
from latprof.pipeline.explaining.graph import Edit, Model, inputs_of

__all__ = ["dead_branch"]


def dead_branch(model: Model) -> Iterator[Candidate]:
    needed, rest = set(model.outputs), list(model.outputs)
    while rest:
        node = model.maker.get(rest.pop())
        for name in inputs_of(node) if node is not None else ():
            if name not in needed:
                needed.add(name)
                rest.append(name)
    dead = tuple(n.output[0] for n in model.nodes if not needed & set(n.output))
    if not dead:
        return

    def apply(edit: Edit) -> None:
        edit.replace(dead, [])

    count = "1 node is" if len(dead) == 1 else f"{len(dead)} nodes are"
    yield Candidate(
        "dead-branch",
        f"{count} computed, and no output of the file depends on them",
        dead,
        (Option("remove them", apply, empties=True),),
    )
