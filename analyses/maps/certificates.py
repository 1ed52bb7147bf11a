"""Is each fixed point really there? Existence, uniqueness and stability, proved by interval bounds.

Method: the Krawczyk operator K(X) = c - Y G(c) + (I - Y DG(X)) (X - c) with G(x) = x - F(x), Y an approximate inverse of
DG(c) and X the ball of radius r about c (maximum norm). If |Y G(c)| + |I - Y DG(X)| r < r in every coordinate, exactly one
fixed point lies in X (Krawczyk 1969; Rump, Acta Numerica 19 (2010), section 13). Slopes over X come from ``hooks.enclosure``.
Stability: Gershgorin discs of P^-1 DF(X) P, P the eigenvectors at c, counted inside and outside the unit circle. All
products are widened by their rounding, so statements hold for the map with these weights in exact arithmetic.

Takes (dynamics, points (found, dim)); costs some tens of enclosures, O(found dim^3) each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.result import Check, Result, axes_or_new
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.enclosure import EPS, Ball, enclose
from hooks.errors import EnclosureError
from hooks.tangent import jacobian

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST_RADIUS = 1e-15  # about the rounding of a coordinate of size 1
GROWTH = 4.0
LARGEST_RADIUS = 1.0


@dataclass(frozen=True, eq=False)
class Certificates(Result):
    """What is proved of each point; NaN and -1 where nothing is.

    Attributes
    ----------
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
    """Prove that a true fixed point lies at each given point, or say why not.

    Parameters
    ----------
    points : (found, dim)
        Approximate fixed points of F^times: for a k-cycle, any of its states with ``times=k``.
    times
        How often the map is iterated.

    Returns
    -------
    Certificates
        For ``times`` > 1 the proof is of a fixed point of F^times; that its minimal period is ``times`` is part of it:
        the images under fewer steps are proved to lie elsewhere.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    """
    dynamics = autonomous(dynamics, "certify")
    power = dynamics.iterated(times)
    centers = as_states(power, points)
    found = len(centers)
    try:
        enclose(power, centers[:1], torch.zeros_like(centers[:1]))
    except EnclosureError as error:
        return _nothing_proved(found, times, str(error))

    Y, sound = _approximate_inverse(power, centers)
    radii, unique, slopes = _krawczyk(power, centers, Y)
    reasons = []
    for row in range(found):
        if not sound[row]:
            reasons.append("the slope I - DF is singular to rounding: the point is degenerate or part of a continuum")
        elif not torch.isfinite(radii[row]):
            reasons.append("no ball up to radius 1 is mapped into itself by the Krawczyk operator")
        else:
            reasons.append("")
    for divisor in (d for d in range(1, times) if times % d == 0):
        for row in _possibly_shorter(dynamics.iterated(divisor), centers, radii):
            radii[row] = unique[row] = float("nan")
            reasons[row] = f"its period may be {divisor}"

    proved = torch.isfinite(radii)
    unstable = torch.full((found,), -1, dtype=torch.int64)
    for row in torch.nonzero(proved)[:, 0].tolist():
        unstable[row] = _unstable_count(Ball(slopes.mid[row], slopes.rad[row]))
    overlapping = _overlaps(centers[proved], radii[proved])
    return Certificates(
        radii=radii.cpu().numpy(),
        unique_within=unique.cpu().numpy(),
        unstable=unstable.numpy(),
        reasons=tuple(reasons),
        times=times,
        overlapping=overlapping,
        checks=(Check("proved balls that meet", 0.0, float(overlapping), 0.0),),
    )


def _nothing_proved(found: int, times: int, reason: str) -> Certificates:
    nothing = np.full(found, np.nan)
    return Certificates(nothing, nothing.copy(), np.full(found, -1), (reason,) * found, times, 0, ())


def _approximate_inverse(power: Dynamics, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Y close to (I - DF)^-1, and which points have one; any Y is sound, a bad one proves nothing."""
    eye = torch.eye(power.dim).to(centers)
    Y, failed = torch.linalg.inv_ex(eye - jacobian(power, centers))
    sound = (failed == 0) & torch.isfinite(Y).all(2).all(1) & (Y.abs().amax((1, 2)) < 1 / (power.dim * EPS))
    return torch.where(sound[:, None, None], Y, eye), sound


def _krawczyk(power: Dynamics, centers: Tensor, Y: Tensor) -> tuple[Tensor, Tensor, Ball]:
    """(smallest proved radius, largest proved radius, slopes over the smallest ball) of each point.

    Radii grow by ``GROWTH`` from ``FIRST_RADIUS``. Once a ball is proved, a larger proved one extends uniqueness.
    """
    found, dim = centers.shape
    eye = Ball.exact(torch.eye(dim).to(centers).expand(found, dim, dim))
    inverse = Ball.exact(Y)
    at_center = enclose(power, centers, torch.zeros_like(centers))
    gap = Ball.exact(centers) - at_center.value
    shift = (inverse @ Ball(gap.mid[..., None], gap.rad[..., None])).magnitude[..., 0]

    radii, unique = (torch.full((found,), float("nan")).to(centers) for _ in range(2))
    kept = Ball(at_center.slope.mid.clone(), at_center.slope.rad.clone())
    radius, growing = FIRST_RADIUS, torch.ones(found, dtype=torch.bool, device=centers.device)
    while radius <= LARGEST_RADIUS and growing.any():
        rows = torch.nonzero(growing)[:, 0]
        slope = enclose(power, centers[rows], torch.full_like(centers[rows], radius)).slope
        contraction = (eye[rows] - inverse[rows] @ (eye[rows] - slope)).magnitude.sum(2) * (1 + dim * EPS)
        inside = ((shift[rows] + contraction * radius) * (1 + 4 * EPS) < radius).all(1)
        first = inside & ~torch.isfinite(radii[rows])
        kept.mid[rows[first]], kept.rad[rows[first]] = slope.mid[first], slope.rad[first]
        radii[rows[first]] = radius
        unique[rows[inside]] = radius
        growing[rows[~inside & torch.isfinite(radii[rows])]] = False
        radius *= GROWTH
    return radii, unique, kept


def _possibly_shorter(fewer: Dynamics, centers: Tensor, radii: Tensor) -> list[int]:
    """Points whose ball meets its own image under fewer steps, so that a shorter period is not excluded."""
    rows = torch.nonzero(torch.isfinite(radii))[:, 0]
    if not len(rows):
        return []
    ball = radii[rows, None].expand(-1, centers.shape[1])
    image = enclose(fewer, centers[rows], ball).value
    apart = ((image.mid - centers[rows]).abs() > (image.rad + ball) * (1 + 8 * EPS) + 8 * EPS).any(1)
    return rows[~apart].tolist()


def _unstable_count(slope: Ball) -> int:
    """Eigenvalues outside the unit circle of every matrix in the ball, or -1.

    With P the eigenvectors of the midpoint and Y about P^-1, eigenvalues of J are those of P^-1 J P = (I - R)^-1 Y J P,
    R = I - Y P: discs around the diagonal of Y J P, widened by |R| / (1 - |R|) |Y J P|. Each connected group of discs holds
    as many eigenvalues as discs, so discs wholly inside and wholly outside the circle can be counted.
    """
    dim = len(slope.mid)
    P = np.linalg.eig(slope.mid.cpu().numpy())[1]
    try:
        Y = np.linalg.inv(P)
    except np.linalg.LinAlgError:
        return -1
    J, spread = slope.mid.cpu().numpy(), slope.rad.cpu().numpy()
    rounding = 8 * (dim + 4) * EPS  # complex products: four real ones each
    JP = J @ P
    JP_error = spread @ np.abs(P) + rounding * (np.abs(J) @ np.abs(P))
    M = Y @ JP
    M_error = np.abs(Y) @ JP_error + rounding * (np.abs(Y) @ np.abs(JP))
    R = np.abs(np.eye(dim) - Y @ P) + rounding * (np.abs(Y) @ np.abs(P) + np.eye(dim))
    off = float(R.sum(axis=1).max()) * (1 + dim * EPS)
    if off >= 1:
        return -1
    size = float((np.abs(M) + M_error).sum(axis=1).max())
    center = np.diag(M)
    reach = (np.abs(M).sum(axis=1) - np.abs(center) + M_error.sum(axis=1) + off / (1 - off) * size) * (1 + rounding)
    inside, outside = np.abs(center) + reach < 1 - rounding, np.abs(center) - reach > 1 + rounding
    return int(outside.sum()) if (inside | outside).all() else -1


def _overlaps(centers: Tensor, radii: Tensor) -> int:
    """Pairs of balls that meet."""
    if len(centers) < 2:
        return 0
    distances = torch.cdist(centers, centers, p=float("inf"))
    meet = distances <= (radii[:, None] + radii[None, :]) * (1 + 8 * EPS)
    return int(torch.triu(meet, diagonal=1).sum())
