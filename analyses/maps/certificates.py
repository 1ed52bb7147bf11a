"""Is each fixed point really there? Existence, uniqueness and stability, proved by interval bounds.

Method: the Krawczyk operator K(X) = c - Y G(c) + (I - Y DG(X)) (X - c) with G(x) = x - F(x), Y an approximate inverse of
DG(c) and X the ball of radius r about c (maximum norm). If |Y G(c)| + |I - Y DG(X)| r < r in every coordinate, exactly one
fixed point lies in X (Krawczyk 1969; Rump, Acta Numerica 19 (2010), section 13). Slopes over X come from ``hooks.enclosure``.
Stability: Gershgorin discs of P^-1 DF(X) P, P the eigenvectors at c, counted inside and outside the unit circle. All
products are widened by their rounding, so statements hold for the map with these weights in exact arithmetic.

A cycle is proved by all its states at once, as a root of x_(i+1) = F(x_i).

Takes (dynamics, points (found, dim)); costs ten or so enclosures, O(found dim^3) each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.maps._krawczyk import krawczyk
from analyses.result import Check, Result, axes_or_new
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.enclosure import EPS, Ball, enclose
from hooks.errors import EnclosureError, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST_RADIUS = 1e-15  # about the rounding of a coordinate of size 1
GROWTH = 8.0  # of a radius that fails
LARGEST_RADIUS = 1.0
BISECTIONS = 6  # of the logarithm of the radius of uniqueness, over at most 15 decades: to a factor of 1.7
HELD = 1 << 22  # slope entries in work at once


@dataclass(frozen=True, eq=False)
class Certificates(Result):
    """What is proved of each point; NaN and -1 where nothing is.

    Attributes
    ----------
    points : (found, period, dim)
        The balls' centers; period 1 when one state a point was given.
    radii : (found,)
        A fixed point of the (iterated) map lies within this distance, in every coordinate.
    unique_within : (found,)
        No other one lies within this distance.
    unstable : (found,)
        Eigenvalues outside the unit circle of the true point, proved; -1 where a disc touches the circle.
    reasons
        Empty where existence is proved; else why not.
    times
        The statements are about the map iterated this often.
    overlapping
        Pairs of proved balls that meet: they may hold one and the same point.
    checks
        No two proved balls meet, so the proved points are different points.
    """

    points: Float[np.ndarray, "found period dim"]
    radii: Float[np.ndarray, " found"]
    unique_within: Float[np.ndarray, " found"]
    unstable: Int[np.ndarray, " found"]
    reasons: tuple[str, ...]
    times: int
    overlapping: int
    checks: tuple[Check, ...]

    @property
    def proved(self) -> np.ndarray:
        """(found,) bool: existence and local uniqueness are proved."""
        return np.isfinite(self.radii)

    def summary(self) -> str:
        """How many are proved, within what distance, and how many of them are proved stable."""
        proved = int(self.proved.sum())
        name = "fixed points" if self.times == 1 else f"fixed points of F^{self.times}"
        text = f"{proved} of {len(self.radii)} {name} proved to exist"
        if proved:
            text += f", each within {np.nanmax(self.radii):.1g} of where it is given"
            text += f" and alone within {np.nanmin(self.unique_within):.1g}"
            text += (
                f"; {int((self.unstable == 0).sum())} proved stable, {int((self.unstable > 0).sum())} proved unstable"
            )
        reasons = sorted({reason for reason in self.reasons if reason})
        return text + "".join(f"; {self.reasons.count(reason)}: {reason}" for reason in reasons)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Radii of existence and of uniqueness, point by point."""
        ax = axes_or_new(ax)
        rows = np.arange(len(self.radii))
        ax.semilogy(rows, self.unique_within, "o", mfc="none", color="#d55e00", markersize=4, label="alone within")
        ax.semilogy(rows, self.radii, "o", color="#0072b2", markersize=4, label="proved within")
        ax.set(xlabel="point", ylabel="distance, largest coordinate")
        ax.legend(frameon=False, fontsize="small")
        return ax


def certify(dynamics: Dynamics, points: Any, *, times: int = 1) -> Certificates:
    """Prove that a true fixed point or cycle lies at each given one, or say why not.

    Parameters
    ----------
    points : (found, dim) or (found, period, dim)
        Approximate fixed points of F^times: for a k-cycle, any of its states with ``times=k``. With three axes, the states of
        cycles of one period in order: the proof is then of all states at once, which holds where F^k expands too much.
    times
        How often the map is iterated; 1 for cycles given by all their states.

    Returns
    -------
    Certificates
        For cycles, that the minimal period is k is part of the proof: the images under fewer steps are proved to lie elsewhere.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        For points of another width, or cycles given by all their states together with ``times``.

    Notes
    -----
    Costs ten or so enclosures of the step at each state and one inverse of a (period dim) matrix a point.
    """
    dynamics = autonomous(dynamics, "certify")
    given = np.asarray(points.detach().cpu() if isinstance(points, Tensor) else points, dtype=np.float64)
    if given.ndim == 3 and times > 1:
        raise InputError(f"cycles with all their {given.shape[1]} states need no times=, but times={times} came")
    period = given.shape[1] if given.ndim == 3 else 1
    power = dynamics.iterated(times)
    centers = as_states(power, given.reshape(-1, power.dim) if given.ndim == 3 else given)
    centers = centers.reshape(-1, period, power.dim)
    found, steps = len(centers), period * times
    try:
        enclose(power, centers[:1, 0], torch.zeros_like(centers[:1, 0]))
    except EnclosureError as error:
        return _nothing_proved(centers, steps, str(error))

    parts = torch.arange(found, device=centers.device).split(max(1, HELD // (period * power.dim) ** 2))
    proofs = [_proofs(power, centers[part]) for part in parts if len(part)]
    radii = torch.cat([centers.new_zeros(0), *(proof[0] for proof in proofs)])
    unique = torch.cat([centers.new_zeros(0), *(proof[1] for proof in proofs)])
    unstable = np.concatenate([np.zeros(0, dtype=np.int64), *(proof[2] for proof in proofs)])
    reasons = [reason for proof in proofs for reason in proof[3]]
    for divisor in (d for d in range(1, steps) if steps % d == 0):
        for row in _possibly_shorter(dynamics, centers, radii, divisor):
            radii[row] = unique[row] = float("nan")
            unstable[row] = -1
            reasons[row] = f"its period may be {divisor}"

    proved = torch.isfinite(radii)
    overlapping = _overlaps(centers[proved].flatten(1), radii[proved])
    return Certificates(
        points=centers.double().cpu().numpy(),
        radii=radii.cpu().numpy(),
        unique_within=unique.cpu().numpy(),
        unstable=unstable,
        reasons=tuple(reasons),
        times=steps,
        overlapping=overlapping,
        checks=(Check("proved balls that meet", 0.0, float(overlapping), 0.0),),
    )


def confirmed(dynamics: Dynamics, claims: Certificates) -> np.ndarray:
    """(found,) bool: each claim proved again, or nothing claimed.

    A claim is a point with its radii, its count of unstable directions and its period. Existence within ``radii`` and
    uniqueness within ``unique_within`` are each proved anew for just that ball; nothing is searched. A ball that was changed,
    a point moved out of it, or a map with other weights is refused.
    """
    period = claims.points.shape[1]
    power = dynamics if period > 1 else dynamics.iterated(claims.times)
    claimed = np.flatnonzero(claims.proved)
    good = np.ones(len(claims.radii), dtype=bool)
    if not len(claimed):
        return good
    if period not in (1, claims.times):
        return ~claims.proved
    centers = torch.as_tensor(claims.points[claimed]).to(dtype=power.dtype, device=power.device)
    radii, unique = (torch.as_tensor(side[claimed]).to(centers) for side in (claims.radii, claims.unique_within))
    try:
        operator = krawczyk(power, centers)
        rows = torch.arange(len(claimed), device=centers.device)
        held = operator.holds(rows, radii) & (unique >= radii) & operator.holds(rows, unique)
        counts = np.array(operator.unstable(rows, radii))
    except EnclosureError:
        return ~claims.proved
    held_now = held.cpu().numpy() & ((claims.unstable[claimed] == -1) | (claims.unstable[claimed] == counts))
    for divisor in (d for d in range(1, claims.times) if claims.times % d == 0):
        held_now[_possibly_shorter(dynamics, centers, radii, divisor)] = False
    good[claimed] = held_now
    return good


def _nothing_proved(centers: Tensor, times: int, reason: str) -> Certificates:
    found = len(centers)
    nothing = np.full(found, np.nan)
    points = centers.double().cpu().numpy()
    return Certificates(points, nothing, nothing.copy(), np.full(found, -1), (reason,) * found, times, 0, ())


def _proofs(dynamics: Dynamics, centers: Tensor) -> tuple[Tensor, Tensor, np.ndarray, list[str]]:
    """(smallest proved radius, largest proved radius, unstable count, reason) of each point or cycle (found, period, dim).

    A ball of twice the Newton shift is tried first and grown while it fails; then the largest one that holds is sought by
    bisection of its logarithm: each ball that counts is proved on its own.
    """
    operator = krawczyk(dynamics, centers)
    radii = torch.full((len(centers),), float("nan")).to(centers)
    trial = (2 * operator.shift.amax(1)).clamp(min=FIRST_RADIUS)
    trying = torch.nonzero(operator.regular & (trial <= LARGEST_RADIUS))[:, 0]
    while len(trying):
        inside = operator.holds(trying, trial[trying])
        radii[trying[inside]] = trial[trying[inside]]
        trying = trying[~inside]
        trial[trying] *= GROWTH
        trying = trying[trial[trying] <= LARGEST_RADIUS]

    proved = torch.nonzero(torch.isfinite(radii))[:, 0]
    unique, beyond = radii.clone(), torch.full_like(radii, LARGEST_RADIUS)
    for _ in range(BISECTIONS if len(proved) else 0):
        middle = (unique[proved] * beyond[proved]).sqrt()
        inside = operator.holds(proved, middle)
        unique[proved[inside]], beyond[proved[~inside]] = middle[inside], middle[~inside]

    unstable = np.full(len(centers), -1, dtype=np.int64)
    unstable[proved.cpu().numpy()] = operator.unstable(proved, radii[proved]) if len(proved) else []
    reasons = [
        "" if done else "no ball up to radius 1 is mapped into itself by the Krawczyk operator" if regular
        else "the slope I - DF is singular to rounding: the point is degenerate or part of a continuum"
        for done, regular in zip(torch.isfinite(radii).tolist(), operator.regular.tolist(), strict=True)
    ]  # fmt: skip
    return radii, unique, unstable, reasons


def _possibly_shorter(dynamics: Dynamics, centers: Tensor, radii: Tensor, steps: int) -> list[int]:
    """Points whose ball meets its own image under fewer steps, so that a shorter period is not excluded."""
    rows = torch.nonzero(torch.isfinite(radii))[:, 0]
    if not len(rows):
        return []
    first, ball = centers[rows, 0], radii[rows, None].expand(-1, centers.shape[2])
    whole = centers.shape[1] > 1
    image = Ball(centers[rows, steps], ball) if whole else enclose(dynamics.iterated(steps), first, ball).value
    apart = ((image.mid - first).abs() > (image.rad + ball) * (1 + 8 * EPS) + 8 * EPS).any(1)
    return rows[~apart].tolist()


def _overlaps(centers: Tensor, radii: Tensor) -> int:
    """Pairs of balls that meet."""
    if len(centers) < 2:
        return 0
    distances = torch.cdist(centers, centers, p=float("inf"))
    meet = distances <= (radii[:, None] + radii[None, :]) * (1 + 8 * EPS)
    return int(torch.triu(meet, diagonal=1).sum())
