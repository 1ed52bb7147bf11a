"""Does a network say what a machine says after EVERY word, however long? An inductive invariant, in interval arithmetic.

Method: the machine's states, split by the last k symbols, become cells (words shorter than k are cells of their own). Each cell
q is a set of network states |T_q (x - c_q)| <= r_q. If the start lies in its cell, if every symbol s maps each cell into the
cell of its successor q', and if on each cell the network says the machine's output, then by induction over the length both say
the same after every word. By the mean value theorem the image lies in the successor's cell when

    |T_q' (F_s(c_q) - c_q')| + |T_q' DF_s(X_q) T_q^-1| r_q <= r_q',

with the slope DF_s bounded over the box around the cell (``hooks.enclosure``), 2-norms bounded with their rounding
(``analyses/maps/_norms``) and T_q^-1 enclosed. Centers are middles of the predecessors' images, iterated. T_q is a factor of
M_q = I + w sum over s of J_s' M_q' J_s at the centers, a norm in which steps shrink on average. Radii start at 0 and grow until
the inequality holds. k is raised until there is a proof: cells shrink with it, and fewer kinks of a ReLU lie in one.

What is proved holds for the network with these weights in exact arithmetic, each symbol's part of the first layer's sum rounded
to float64. A network may follow the machine and still have no proof of this kind: then nothing is claimed.

Takes an Automaton and a SymbolReader of a map; costs ten or so enclosures of each cell and symbol for each k, O(dim^3) each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.maps._norms import norm_bounds
from analyses.result import Check, Result, axes_or_new, counted
from analyses.symbols._cells import Cells, centers_of, edges, metrics, split_states
from analyses.symbols.automaton import Automaton, same_alphabet
from hooks.dynamics import Dynamics
from hooks.enclosure import EPS, Ball, Enclosure, enclose
from hooks.errors import EnclosureError, InputError
from hooks.symbol_reader import SymbolReader
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PASSES = 20  # of the inequality, for each cell, while radii settle at given slopes
GROWN = 12  # rounds of the radii, each with slopes over the cells as they are then
MARGIN = 1.02  # by which radii exceed the least fixed point
LARGEST = 1e6  # state or radius at which a proof is given up
HELD = 1 << 22  # slope entries at once


@dataclass(frozen=True, eq=False)
class MachineProof(Result):
    """Whether the network is proved to be the machine, and the cells; without a proof, those of the last attempt.

    Attributes
    ----------
    proved
        The network says what the machine says after every word of any length.
    reasons
        Why each k, from 0 on, failed; empty for the last one of a proof.
    states, depth
        Of the machine; k.
    centers : (cells, dim)
    radii : (cells,)
        Of each cell, in its own norm; NaN in a failed attempt.
    places : (cells,)
        The machine's state of each cell.
    stretches : (cells, alphabet)
        The bound of |T_q' DF_s T_q^-1| over each cell.
    margins : (cells,)
        The least lead of the output's score over any other in a cell; positive in a proof.
    checks
        Distance of the start from its cell, in radii, is 1 at most.
    """

    proved: bool
    reasons: tuple[str, ...]
    states: int
    depth: int
    centers: Float[np.ndarray, "cells dim"]
    radii: Float[np.ndarray, " cells"]
    places: Int[np.ndarray, " cells"]
    stretches: Float[np.ndarray, "cells alphabet"]
    margins: Float[np.ndarray, " cells"]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """That it is proved, and by what; or that it is not, and why."""
        machine = f"machine of {counted(self.states, 'state')}"
        if self.proved:
            return (
                f"proved: the network says what the {machine} says after every word of any length; "
                f"{counted(len(self.radii), 'cell')}, the last {counted(self.depth, 'symbol')} told apart, are mapped into one "
                f"another by every symbol, stretched by {self.stretches.max():.3g} at most, with scores "
                f"{self.margins.min():.3g} or more apart"
            )
        return f"not proved: that the network says what the {machine} says after every word; {self.reasons[-1]}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """The margin of the output in each cell against the cell's radius."""
        ax = axes_or_new(ax)
        for state in range(self.states):
            at = self.places == state
            ax.plot(
                self.radii[at],
                self.margins[at],
                "o",
                markersize=4,
                label=f"state {state}" if self.states < 11 else None,
            )
        ax.axhline(0, color="0.6", lw=1)
        ax.set(xlabel="radius of the cell, in its norm", ylabel="least lead of the score")
        if 1 < self.states < 11:
            ax.legend(fontsize=7, frameon=False)
        return ax


def prove_machine(
    machine: Automaton, reader: SymbolReader, *, deepest: int = 8, most_cells: int = 1024, watch: Watch = quiet
) -> MachineProof:
    """Prove that the network is the machine, or say that no proof was found.

    Parameters
    ----------
    machine
        Every edge known; over the reader's symbols and outputs.
    reader
        Of a map in float64 whose operations have known bounds: ReLU, tanh, GRU, LSTM and piecewise-linear recurrences.
    deepest, most_cells
        The largest k tried, and cells at most.
    watch
        Wraps the attempts, k by k.

    Raises
    ------
    InputError
        When the reader is not of a map, an edge is unknown, or symbols or outputs differ.
    """
    same_alphabet(machine, reader)
    if reader.dynamics is None or reader.drives is None:
        raise InputError(f"{reader.name!r} is no map with a state of its own, so nothing can be proved of all words")
    if reader.dynamics.dtype != torch.float64:
        raise InputError(f"proofs are made in float64, and {reader.name!r} steps in {reader.dynamics.dtype}")
    if not machine.complete:
        raise InputError(
            f"{int((machine.transitions < 0).sum())} edges of the machine are unknown: prove a complete one"
        )
    found: MachineProof | None = None
    reasons: tuple[str, ...] = ()
    for attempt in watch(_attempts(machine, reader, deepest, most_cells), deepest + 1):
        found, reasons = attempt, (*reasons, *attempt.reasons)
    if found is None:
        raise InputError(f"deepest is 0 at least and most_cells 1, but {deepest} and {most_cells} came")
    return MachineProof(**vars(found) | {"reasons": reasons})


def _attempts(machine: Automaton, reader: SymbolReader, deepest: int, most_cells: int) -> Iterator[MachineProof]:
    for depth in range(deepest + 1):
        cells = split_states(machine, depth)
        if depth and len(cells.places) > most_cells:
            return
        attempt = _attempt(machine, reader, cells, depth)
        yield attempt
        if attempt.proved:
            return


def _attempt(machine: Automaton, reader: SymbolReader, cells: Cells, depth: int) -> MachineProof:
    dynamics, drives = reader.dynamics, reader.drives
    assert dynamics is not None and drives is not None
    start = reader.first(1).detach()
    centers = centers_of(dynamics, drives, cells, start)
    count, alphabet = cells.targets.shape
    nothing = np.full(count, np.nan)

    def failed(reason: str, stretches: np.ndarray | None = None, margins: np.ndarray = nothing) -> MachineProof:
        """Not proved, for this reason."""
        where = f"with the last {counted(depth, 'symbol')} told apart, " if depth else ""
        return MachineProof(
            proved=False, reasons=(where + reason,), states=len(machine), depth=depth,
            centers=centers.cpu().numpy(), radii=nothing, places=cells.places,
            stretches=np.full((count, alphabet), np.nan) if stretches is None else stretches, margins=margins, checks=(),
        )  # fmt: skip

    if not bool((centers.abs() < LARGEST).all()):
        return failed("the states of a cell do not stay bounded")
    labels = machine.labels[cells.places]
    if (reader.says(centers) != labels).any():
        return failed("the network says otherwise in the middle of a cell")
    T = metrics(dynamics, drives, cells, centers)
    Y, singular = torch.linalg.inv_ex(T)
    if singular.any() or not torch.isfinite(Y).all():
        return failed("no norm was found in which the steps shrink on average")
    inverse = _enclosed_inverse(T, Y)
    try:
        offsets = _offsets(dynamics, drives, cells, centers, T)
        # The start's own cell has it as center, unless words lead back there.
        away = _lengths(Ball.exact(T[:1]) @ (Ball.exact(start[..., None]) - Ball.exact(centers[:1, :, None])))
        radii = torch.zeros(count, dtype=torch.float64)
        for _ in range(GROWN):
            reach = _reach(inverse, radii)
            stretches = _stretches(dynamics, drives, cells, centers, reach, T, inverse)
            least = _needed(cells, offsets, stretches, radii, away)
            if bool((least <= radii).all()):
                break
            radii = _grown(cells, offsets, stretches, away)
            if not bool((radii < LARGEST).all()):
                return failed("the cells grow without end", stretches.cpu().numpy())
        else:
            return failed("the cells still grow", stretches.cpu().numpy())
        margins = _margins(reader, centers, reach, inverse, radii, labels)
    except EnclosureError as error:
        return failed(str(error))
    if not bool((margins > 0).all()):
        wide = int((margins <= 0).sum())
        return failed(
            f"{wide} of {counted(count, 'cell')} may hold states with another output",
            stretches.cpu().numpy(),
            margins.cpu().numpy(),
        )
    share = float(away[0] / radii[0]) if float(radii[0]) else 0.0
    return MachineProof(
        proved=True, reasons=(), states=len(machine), depth=depth, centers=centers.cpu().numpy(),
        radii=radii.cpu().numpy(), places=cells.places, stretches=stretches.cpu().numpy(),
        margins=margins.cpu().numpy(), checks=(Check("the start lies in its cell, in radii", 0.0, share, 1.0),),
    )  # fmt: skip


def _enclosed_inverse(T: Tensor, Y: Tensor) -> Ball:
    """T^-1 lies in Y +- : with E = I - Y T and |E| = d < 1 in the maximum norm, T^-1 - Y = sum of E^k Y over k >= 1."""
    off = (Ball.exact(torch.eye(T.shape[-1]).to(T)) - Ball.exact(Y) @ Ball.exact(T)).magnitude
    d = off.sum(-1).amax(-1) * (1 + 4 * T.shape[-1] * EPS)
    rad = (d / (1 - d) * (1 + 8 * EPS))[:, None, None] * Y.abs().amax(-2, keepdim=True)
    return Ball(Y, torch.where((d < 0.5)[:, None, None], rad.expand_as(Y), torch.inf))


def _lengths(vectors: Ball) -> Tensor:
    """Upper bounds of the 2-norms of columns (..., dim, 1)."""
    return vectors.magnitude.norm(dim=(-2, -1)) * (1 + 4 * (vectors.mid.shape[-2] + 4) * EPS)


def _reach(inverse: Ball, radii: Tensor) -> Tensor:
    """(cells, dim) half-widths of the boxes around the cells: the rows' 2-norms times the radius."""
    return inverse.magnitude.norm(dim=2) * radii[:, None] * (1 + 4 * (inverse.mid.shape[-1] + 4) * EPS)


def _enclosures(dynamics: Dynamics, drive: Tensor, at: Tensor, reach: Tensor) -> Iterator[tuple[slice, Enclosure]]:
    size = max(1, HELD // dynamics.dim**2)
    for first in range(0, len(at), size):
        rows = slice(first, first + size)
        yield rows, enclose(dynamics, at[rows], reach[rows], drive[rows])


def _offsets(dynamics: Dynamics, drives: Tensor, cells: Cells, centers: Tensor, T: Tensor) -> Tensor:
    """(cells, alphabet) bounds of |T_q' (F_s(c_q) - c_q')|."""
    sources, targets, drive = edges(cells, drives)
    at = centers[sources]
    parts = []
    for rows, image in _enclosures(dynamics, drive, at, torch.zeros_like(at)):
        gap = image.value - Ball.exact(centers[targets[rows]])
        parts.append(_lengths(Ball.exact(T[targets[rows]]) @ Ball(gap.mid[..., None], gap.rad[..., None])))
    return torch.cat(parts).reshape(cells.targets.shape)


def _stretches(
    dynamics: Dynamics, drives: Tensor, cells: Cells, centers: Tensor, reach: Tensor, T: Tensor, inverse: Ball
) -> Tensor:
    """(cells, alphabet) bounds of |T_q' DF_s(X_q) T_q^-1|."""
    sources, targets, drive = edges(cells, drives)
    parts = []
    for rows, image in _enclosures(dynamics, drive, centers[sources], reach[sources]):
        parts.append(norm_bounds(Ball.exact(T[targets[rows]]) @ image.slope @ inverse[sources[rows]]))
    return torch.cat(parts).reshape(cells.targets.shape)


def _needed(cells: Cells, offsets: Tensor, stretches: Tensor, radii: Tensor, away: Tensor) -> Tensor:
    """(cells,) the radii that hold the images of cells of these radii, and the start."""
    images = ((stretches * radii[:, None] + offsets) * (1 + 8 * EPS)).reshape(-1)
    needed = torch.zeros_like(radii).scatter_reduce(0, cells.targets.reshape(-1), images, "amax")
    needed[0] = torch.maximum(needed[0], away[0])
    return needed


def _grown(cells: Cells, offsets: Tensor, stretches: Tensor, away: Tensor) -> Tensor:
    """Radii a little above the least ones that hold their images at these stretches; infinite when there are none."""
    radii = torch.zeros_like(offsets[:, 0])
    for _ in range(PASSES * (10 + len(radii))):
        needed = _needed(cells, offsets, stretches, radii, away) * (1 + 1e-9)
        if bool((needed <= radii).all()):
            return radii * MARGIN
        radii = torch.maximum(radii, needed)
        if not bool((radii < LARGEST).all()):
            break
    return torch.full_like(radii, torch.inf)


def _margins(
    reader: SymbolReader, centers: Tensor, reach: Tensor, inverse: Ball, radii: Tensor, labels: np.ndarray
) -> Tensor:
    """(cells,) lower bounds of the lead of the output's score over any other."""
    eye = torch.eye(centers.shape[1], dtype=torch.float64).expand(len(centers), -1, -1)

    def bounded(width: Tensor) -> Enclosure:
        scores = reader.scores(Enclosure(Ball(centers, width), Ball.exact(eye)))  # type: ignore[arg-type]
        if not isinstance(scores, Enclosure):
            raise EnclosureError("the readout does not pass its state through the known operations")
        return scores

    middle, over = bounded(torch.zeros_like(centers)), bounded(reach)
    said = torch.as_tensor(labels)
    if middle.shape[1] == 1:
        sign = (2 * said - 1).to(torch.float64)[:, None]
        leads = (middle.value - Ball.exact(torch.tensor(reader.threshold).to(centers))) * Ball.exact(sign)
        slopes = over.slope
    else:
        rows = torch.arange(len(said))
        leads = Ball(middle.value.mid[rows, said][:, None], middle.value.rad[rows, said][:, None]) - middle.value
        slopes = Ball(over.slope.mid[rows, said][:, None], over.slope.rad[rows, said][:, None]) - over.slope
        leads = Ball(
            leads.mid.masked_fill(torch.nn.functional.one_hot(said, middle.shape[1]).bool(), torch.inf), leads.rad
        )
    size = _lengths((slopes @ inverse)[..., None])
    lowest = (leads.mid - leads.rad) * (1 - 4 * EPS) - size * radii[:, None] * (1 + 4 * EPS)
    return lowest.amin(dim=1)
