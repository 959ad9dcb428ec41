"""One self-contained page: verdicts, and the graph that ran, colored by time."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from latprof.pipeline.explaining.shown._text import ending, label, lines_of, summary
from latprof.vocabulary import format_s

if TYPE_CHECKING:
    from latprof.pipeline.explaining._result import OpShare, WhyResult

__all__ = ["html_of"]

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "pre{white-space:pre-wrap;margin:.2em 0 1em 1.5em}svg{font:12px system-ui,sans-serif}"
)
_ROW, _WIDTH, _LEFT = 26, 760, 120


def html_of(result: WhyResult) -> str:
    title = html.escape(f"latprof why {result.file}")
    verdicts = [
        f"<li>{html.escape(verdict.words)}{html.escape(ending(verdict))}"
        f"<pre>{html.escape(chr(10).join(lines_of(verdict)))}</pre></li>"
        for verdict in result.verdicts
    ]
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>",
        f"<style>{_STYLE}</style><h1>{title}</h1><p>{html.escape(str(result.target))}</p>",
        f"<p>{html.escape(summary(result))}</p>",
        "<h2>What slows it</h2>",
        f"<ol>{''.join(verdicts)}</ol>" if verdicts else "<p>Nothing that was found.</p>",
        "<h2>What ran</h2>",
        _graph(result),
        "</html>",
    ]
    return "\n".join(parts)


def _graph(result: WhyResult) -> str:
    """Ops from top to bottom in the order in which they ran; what skips ops is drawn beside."""
    height = _ROW * len(result.ops) + 10
    most = max((op.share for op in result.ops), default=1.0) or 1.0
    drawn = [f"<svg width='{_WIDTH}' height='{height}' xmlns='http://www.w3.org/2000/svg'>"]
    for i, op in enumerate(result.ops):
        drawn += [_edge(source, i) for source in op.reads]
    drawn += [_box(i, op, op.share / most) for i, op in enumerate(result.ops)]
    return "\n".join([*drawn, "</svg>"])


def _box(number: int, op: OpShare, heat: float) -> str:
    cool = round(255 * (1 - 0.75 * heat))
    text = html.escape(f"{op.op}  {label(op)}")
    nodes = html.escape(", ".join(op.nodes) or "added by the runtime")
    y = number * _ROW + 4
    return (
        f"<g><title>{nodes}</title><rect x='{_LEFT}' y='{y}' width='{_WIDTH - _LEFT - 10}' "
        f"height='{_ROW - 6}' rx='3' fill='rgb(255,{cool},{cool})' stroke='#888'/>"
        f"<text x='{_LEFT + 8}' y='{y + 14}'>{text}</text>"
        f"<text x='{_WIDTH - 18}' y='{y + 14}' text-anchor='end'>"
        f"{format_s(op.seconds)}  {op.share:.1%}</text></g>"
    )


def _edge(source: int, reader: int) -> str:
    start, end = source * _ROW + _ROW - 2, reader * _ROW + 4
    if reader - source == 1:
        return f"<line x1='{_LEFT + 40}' y1='{start}' x2='{_LEFT + 40}' y2='{end}' stroke='#888'/>"
    out = _LEFT - min(_LEFT - 5, 10 + 3 * (reader - source))
    middle = source * _ROW + _ROW // 2, reader * _ROW + _ROW // 2
    return (
        f"<path d='M{_LEFT},{middle[0]} C{out},{middle[0]} {out},{middle[1]} "
        f"{_LEFT},{middle[1]}' fill='none' stroke='#aaa'/>"
    )
