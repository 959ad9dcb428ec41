"""Latency slack: how much of the time can go for how much of the metric."""

from __future__ import annotations

from latprof.vocabulary import RunResult

__all__ = ["SLACK_LOSSES", "latency_slack", "slack_text"]

#: Relative losses of the metric at which slack is reported, as in Hoefler et al. (2021), figure 26.
SLACK_LOSSES = (0.0, 0.01, 0.05)


def latency_slack(result: RunResult) -> dict[float, float]:
    """{relative loss: least share of the original's measured time within it}.

    Over the networks that the run left, among them those of its trail, and the samples of a
    search, whose metric is of held-out data.
    """
    original, sign = result.original, 1.0 if result.higher_is_better else -1.0

    def loss(value: float, of: float) -> float:
        return sign * (of - value) / max(abs(of), 1e-12)

    found = [
        (loss(n.accuracy, original.accuracy), n.latency_s / original.latency_s)
        for n in result.networks
    ]
    if result.search is not None:
        found += [
            (loss(s.metric, result.search.original), s.latency_s / original.latency_s)
            for s in result.search.samples
        ]
    return {most: min(share for lost, share in found if lost <= most) for most in SLACK_LOSSES}


def slack_text(result: RunResult) -> str:
    """In a sentence; empty where the run left no network between the original and the last."""
    if not result.trail and result.search is None:
        return ""
    shares = ", ".join(
        f"{share:.0%} of the time at {most:.0%} relative loss"
        for most, share in latency_slack(result).items()
    )
    return f"latency slack of {result.metric}: {shares}"
