"""Calls that are timed in turns, so that what disturbs one disturbs them all."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

__all__ = ["medians_in_turns"]

Name = TypeVar("Name", bound=Hashable)


def medians_in_turns(calls: Mapping[Name, Callable[[], Any]], rounds: int) -> dict[Name, float]:
    """Seconds of each call by name, medians; each round calls all of them in another order."""
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name in random.sample(list(calls), len(calls)):
            start = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}
