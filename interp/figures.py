"""Figures of a page, drawn from written results alone, as data URIs."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import networkx as nx
import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from analyses.maps.basins import PlaneBasins
from analyses.maps.cycles import Cycles
from analyses.maps.fixed_points import FixedPoints
from analyses.maps.kicks import MinimalKicks
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


def pictures(result: Result, beside: Mapping[str, Result]) -> tuple[Picture, ...]:
    """One result drawn with what the others in its group add to it; nothing when there is nothing to draw."""
    with rc_context(STYLE):
        if isinstance(result, StreamGeometry):
            planes = [(0, 1), (0, 2)] if result.basis.shape[1] > 2 else [(0, 1)]
            figures, alt = [portrait(result, beside, *plane) for plane in planes], "Portrait of the states. "
            size = result.portrait.size
        elif isinstance(result, Transitions) and result.targets.size:
            figures, alt, size = [transition_graph(result)], "Graph of which pulse takes which memory to which. ", 0
        else:
            arrays = [value for value in vars(result).values() if isinstance(value, np.ndarray)]
            size = sum(array.size for array in arrays if array.ndim > 0)
            if not size or (isinstance(result, FixedPoints | Cycles) and not len(result.hits)):
                return ()
            figures, alt = [Figure(figsize=(5.4, 3.8), layout="constrained")], ""
            _legend_below(result.plot(figures[0].add_subplot()))
        return tuple(_encoded(figure, size, f"{alt}{result.summary()}.") for figure in figures)


def portrait(geometry: StreamGeometry, beside: Mapping[str, Result], first: int, second: int) -> Figure:
    """Trajectories in two principal directions with every fixed point and cycle of the group, by stability."""
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    ax = figure.add_subplot()
    _plane(ax, geometry, beside, first, second)
    _legend_below(ax, columns=2)
    return figure


def transition_graph(table: Transitions) -> Figure:
    """Memories as nodes, an arrow for each pulse that changes one, coloured by pulse."""
    figure = Figure(figsize=(5.8, 5.8), layout="constrained")
    ax = figure.add_subplot()
    edges = [
        (source, int(target), pulse)
        for (source, pulse), target in np.ndenumerate(table.targets)
        if target >= 0 and target != source
    ]
    simple = nx.Graph()
    simple.add_nodes_from(range(len(table.memory_names)))
    simple.add_edges_from((source, target) for source, target, _ in edges)
    place = _circle(simple)
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
    ax.margins(0.12)
    ax.set_aspect("equal")
    ax.axis("off")
    _legend_below(ax, "pulse")
    return figure


def _circle(graph: nx.Graph) -> dict[int, np.ndarray]:
    """Nodes on a circle, where no edge runs behind another node, neighbours near each other."""
    if len(graph) < 2:
        return {node: np.zeros(2) for node in graph}
    spring = nx.kamada_kawai_layout(graph)
    order = sorted(graph, key=lambda node: float(np.arctan2(*(spring[node] - np.mean(list(spring.values()), axis=0)))))
    angles = np.pi / 2 - 2 * np.pi * np.arange(len(order)) / len(order)
    return {node: np.array([np.cos(angle), np.sin(angle)]) for node, angle in zip(order, angles, strict=True)}


def _legend_below(ax: Axes, title: str = "", *, columns: int = 3) -> None:
    """Take the legend off the data and put it below the axes and their labels."""
    handles, labels = ax.get_legend_handles_labels()
    own = ax.get_legend()
    if own is not None:
        own.remove()
    if not handles:
        return
    legend = ax.legend(
        handles, labels, title=title or None, ncols=columns, frameon=False, fontsize="small", loc="upper center",
        bbox_to_anchor=(0.5, 0), borderaxespad=5.0 if ax.axison else 1.0,
    )  # fmt: skip
    for handle in legend.legend_handles:
        if isinstance(handle, Line2D) and handle.get_marker() == ".":
            handle.set_markersize(6)  # a state is drawn too small to be seen alone


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
    boundary = _only(beside, PlaneBasins)
    if boundary is not None and (first, second) == (0, 1) and len(boundary.points):
        ax.plot(*boundary.points.T, ".", color="0.35", markersize=1.5, zorder=2.5, label="basin boundary in this plane")
    points, cycles = _only(beside, FixedPoints), _only(beside, Cycles)
    if cycles is not None:
        for stable, label in ((False, "unstable cycle"), (True, "stable cycle")):
            for number, row in enumerate(np.flatnonzero(cycles.stable == stable)[:64]):
                x, y = on(np.concatenate([cycles.orbit(int(row)), cycles.orbit(int(row))[:1]]))
                ax.plot(x, y, "s-" if stable else "s:", color=STABLE if stable else UNSTABLE, linewidth=1.4 if stable else 0.5,
                        markersize=5 if stable else 2, zorder=4 if stable else 2,
                        label=f"{label} ({int((cycles.stable == stable).sum())})" if number == 0 else None)  # fmt: skip
    if points is not None:
        for stable, label in ((False, "unstable fixed point"), (True, "stable fixed point")):
            rows = points.stable == stable
            if rows.any():
                x, y = on(points.points[rows])
                ax.scatter(x, y, s=36, facecolors=STABLE if stable else "white", edgecolors=STABLE if stable else UNSTABLE,
                           linewidths=1.2, zorder=5 if stable else 3, label=f"{label} ({int(rows.sum())})")  # fmt: skip
    kicks = _only(beside, MinimalKicks)
    if kicks is not None and points is not None and cycles is not None:
        memories = [points.points[[row]] for row in np.flatnonzero(points.stable)]
        memories += [cycles.orbit(int(row)) for row in np.flatnonzero(cycles.stable)]
        rows = np.flatnonzero(np.isfinite(kicks.sizes))
        feet = np.array([memories[kicks.sources[row]][kicks.phases[row]] for row in rows]).reshape(len(rows), -1)
        if len(rows):
            (x, y), (to_x, to_y) = on(feet), on(feet + kicks.kicks[rows])
            ax.quiver(x, y, to_x - x, to_y - y, angles="xy", scale_units="xy", scale=1, width=0.004, color="0.1", zorder=6,
                      label="smallest kick out")  # fmt: skip
    ax.set(xlabel=f"principal direction {first + 1}", ylabel=f"principal direction {second + 1}")


def _only(beside: Mapping[str, Result], kind: type[R]) -> R | None:
    return next((result for result in beside.values() if isinstance(result, kind)), None)


def _encoded(figure: Figure, size: int, alt: str) -> Picture:
    """Cut to what is drawn: lines as SVG, dense figures as PNG of 128 colours."""
    out = io.BytesIO()
    if size > DENSE:
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=144, bbox_inches="tight")
        image = Image.open(drawn).convert("RGB")
        image.quantize(128).save(out, format="png", optimize=True)
        kind, width = "image/png", image.width * 96 / 144
    else:
        figure.savefig(out, format="svg", metadata={"Date": None}, bbox_inches="tight")
        points = re.search(rb'<svg [^>]*?width="([\d.]+)pt"', out.getvalue())
        kind, width = "image/svg+xml", float(points[1]) * 96 / 72 if points else 96 * figure.get_figwidth()
    return Picture(f"data:{kind};base64,{base64.b64encode(out.getvalue()).decode()}", round(width), alt)
