"""Figures of a page, drawn from written results alone, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import networkx as nx
import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from PIL import Image

from analyses.maps.cycles import Cycles
from analyses.maps.fixed_points import FixedPoints
from analyses.maps.transitions import Transitions
from analyses.result import Result
from analyses.trajectories.stream_geometry import StreamGeometry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

R = TypeVar("R", bound=Result)
RUNS_DRAWN = 4  # as lines; more of them hide the points
DENSE = 4_000  # numbers drawn in one figure above which it becomes a picture of pixels
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "interp",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.4",
    "figure.facecolor": "white",
}
STABLE, UNSTABLE = "#0072b2", "#d55e00"


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it: a data URI, its width in CSS pixels, and what it shows in words."""

    uri: str
    width: int
    alt: str


def picture(result: Result, beside: Mapping[str, Result]) -> Picture | None:
    """One result drawn with what the others in its group add to it; None when there is nothing to draw."""
    with rc_context(STYLE):
        if isinstance(result, StreamGeometry):
            figure, alt, size = portrait(result, beside), "Portrait of the states. ", result.portrait.size
        elif isinstance(result, Transitions) and result.targets.size:
            figure, alt, size = transition_graph(result), "Graph of which pulse takes which memory to which. ", 0
        else:
            arrays = [value for value in vars(result).values() if isinstance(value, np.ndarray)]
            if not any(array.size for array in arrays if array.ndim > 0):
                return None
            figure, alt, size = (
                Figure(figsize=(5.4, 3.8), layout="constrained"),
                "",
                sum(array.size for array in arrays),
            )
            result.plot(figure.add_subplot())
        return Picture(_encoded(figure, size), round(96 * figure.get_figwidth()), f"{alt}{result.summary()}.")


def portrait(geometry: StreamGeometry, beside: Mapping[str, Result]) -> Figure:
    """Trajectories in their principal plane with every fixed point and cycle of the group, by stability."""
    planes = [(0, 1), (0, 2)] if geometry.basis.shape[1] > 2 else [(0, 1)]
    figure = Figure(figsize=(4.8 * len(planes), 4.2), layout="constrained")
    axes = figure.subplots(1, len(planes), squeeze=False)[0]
    for ax, (first, second) in zip(axes, planes, strict=True):
        _plane(ax, geometry, beside, first, second)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    return figure


def transition_graph(table: Transitions) -> Figure:
    """Memories as nodes, an arrow for each pulse that changes one, coloured by pulse."""
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    ax = figure.add_subplot()
    edges = [
        (source, int(target), pulse)
        for (source, pulse), target in np.ndenumerate(table.targets)
        if target >= 0 and target != source
    ]
    simple = nx.Graph()
    simple.add_nodes_from(range(len(table.memory_names)))
    simple.add_edges_from((source, target) for source, target, _ in edges)
    place = nx.kamada_kawai_layout(simple) if len(simple) > 1 else {node: np.zeros(2) for node in simple}
    colors = colormaps["tab20" if len(table.pulse_names) > 10 else "tab10"]
    drawn: dict[tuple[int, int], int] = {}
    for source, target, pulse in edges:
        arc = drawn.get((source, target), 0)
        drawn[source, target] = arc + 1
        nx.draw_networkx_edges(
            simple.to_directed(), place, [(source, target)], ax=ax, edge_color=[colors(pulse)], node_size=900, width=1.4,
            connectionstyle=f"arc3,rad={0.12 + 0.1 * arc}", arrowsize=11,
        )  # fmt: skip
    nx.draw_networkx_nodes(simple, place, ax=ax, node_size=900, node_color="white", edgecolors=STABLE, linewidths=1.6)
    nx.draw_networkx_labels(simple, place, dict(enumerate(table.memory_names)), ax=ax, font_size=8)
    for pulse, name in enumerate(table.pulse_names):
        ax.plot([], [], color=colors(pulse), label=name)
    ax.legend(frameon=False, fontsize="small", title="pulse", loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.margins(0.12)
    ax.axis("off")
    return figure


def _plane(ax: Axes, geometry: StreamGeometry, beside: Mapping[str, Result], first: int, second: int) -> None:
    def on(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = (states - geometry.origin) @ geometry.basis
        return seen[..., first], seen[..., second] if seen.shape[-1] > second else np.zeros(seen.shape[:-1])

    seen = np.concatenate([geometry.portrait, np.zeros_like(geometry.portrait[..., :1])], axis=2)
    height = seen[..., min(second, geometry.portrait.shape[2])]
    ax.plot(
        seen[:, :, first].ravel(), height.ravel(), ".", color="0.78", markersize=2, zorder=1, label="states visited"
    )
    few = f"{min(RUNS_DRAWN, len(seen))} runs"
    for number, (x, y) in enumerate(zip(seen[:RUNS_DRAWN, :, first], height, strict=False)):
        ax.plot(x, y, color="0.55", linewidth=0.5, zorder=1.5, label=None if number else few)
    points, cycles = (_only(beside, kind) for kind in (FixedPoints, Cycles))
    if isinstance(cycles, Cycles):
        for stable, label in ((False, "unstable cycle"), (True, "stable cycle")):
            for number, row in enumerate(np.flatnonzero(cycles.stable == stable)[:64]):
                x, y = on(np.concatenate([cycles.orbit(int(row)), cycles.orbit(int(row))[:1]]))
                ax.plot(x, y, "s-" if stable else "s:", color=STABLE if stable else UNSTABLE, linewidth=1.4 if stable else 0.5,
                        markersize=5 if stable else 2, zorder=4 if stable else 2,
                        label=f"{label} ({int((cycles.stable == stable).sum())})" if number == 0 else None)  # fmt: skip
    if isinstance(points, FixedPoints):
        for stable, label in ((False, "unstable fixed point"), (True, "stable fixed point")):
            rows = points.stable == stable
            if rows.any():
                x, y = on(points.points[rows])
                ax.scatter(x, y, s=36, facecolors=STABLE if stable else "white", edgecolors=STABLE if stable else UNSTABLE,
                           linewidths=1.2, zorder=5 if stable else 3, label=f"{label} ({int(rows.sum())})")  # fmt: skip
    ax.set(xlabel=f"principal direction {first + 1}", ylabel=f"principal direction {second + 1}")


def _only(beside: Mapping[str, Result], kind: type[R]) -> R | None:
    return next((result for result in beside.values() if isinstance(result, kind)), None)


def _encoded(figure: Figure, size: int) -> str:
    """A data URI: lines as SVG, dense figures as PNG of 128 colours."""
    out = io.BytesIO()
    if size > DENSE:
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=144)
        Image.open(drawn).convert("RGB").quantize(128).save(out, format="png", optimize=True)
        kind = "image/png"
    else:
        figure.savefig(out, format="svg", metadata={"Date": None})
        kind = "image/svg+xml"
    return f"data:{kind};base64,{base64.b64encode(out.getvalue()).decode()}"
