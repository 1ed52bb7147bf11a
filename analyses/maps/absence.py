"""Where does the map have no fixed point? Branch and bound over a box, so that a list of fixed points is proved complete.

Method: a fixed point in a box X also lies in the image F(X), in its mean-value form F(c) + DF(X) (X - c), and in the
Krawczyk operator c + Y (F(c) - c) + (I - Y (I - DF(X))) (X - c), for any matrix Y; here Y is about (I - DF)^-1 at the middle of
the slopes. X is cut down to what it shares with all three, is cleared when nothing is left or when it lies in a ball that is
excepted, is set aside when the Krawczyk operator maps it into itself (it holds exactly one fixed point), and else is halved
where |I - DF(X)| times the width is largest (Neumaier, Interval Methods for Systems of Equations, 1990, section 5; Rump, Acta
Numerica 19 (2010), section 13). Bounds come from ``hooks.enclosure``, rounding included.

Takes (dynamics, box); costs two enclosures a part, O(dim^3) each. Where the slope varies their number grows exponentially with
dim: x' = tanh(2x) takes 17, 63, 195, 615, 1829, 5313 for its 3^n points, n = 1 to 6; trained states of 16 units are beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.maps._boxes import Cover, box_sides, centered, covers
from analyses.result import Check, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.enclosure import EPS, TINY, Ball, enclose
from hooks.errors import EnclosureError, InputError
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARGIN = 1e-10  # of the box: narrowed sides keep this distance from the fixed points, or rounding hides that X maps into itself


@dataclass(frozen=True, eq=False)
class Absence(Result):
    """What is left of a box when every part proved free of fixed points is taken away.

    Attributes
    ----------
    box : (2, dim)
        Lower and upper sides.
    remaining : (boxes, 2, dim)
        Parts not decided: any other fixed point lies in one of them.
    inhabited : (found, 2, dim)
        Parts proved to hold exactly one fixed point each, outside the excepted balls.
    points, radii : (excepted, dim)
        The excepted balls, |x - point| <= radius in every coordinate.
    examined
        Boxes bounded.
    reason
        Why nothing could be bounded; empty when it could.
    checks
        No two excepted balls meet, so that each holds a point of its own.
    """

    box: Float[np.ndarray, "2 dim"]
    remaining: Float[np.ndarray, "boxes 2 dim"]
    inhabited: Float[np.ndarray, "found 2 dim"]
    points: Float[np.ndarray, "excepted dim"]
    radii: Float[np.ndarray, "excepted dim"]
    examined: int
    reason: str
    checks: tuple[Check, ...]

    @property
    def proved(self) -> bool:
        """Whether the box, outside the excepted balls, holds no fixed point."""
        return not len(self.remaining) and not len(self.inhabited)

    @property
    def undecided(self) -> float:
        """Share of the box's volume that is not decided."""
        low, high = self.box
        share = (self.remaining[:, 1] - self.remaining[:, 0]) / np.where(high > low, high - low, 1.0)
        return float(np.where(high > low, share, 1.0).prod(axis=1).sum())

    def summary(self) -> str:
        """Whether the box is proved free of fixed points, with what exceptions, or how much of it is not."""
        if self.reason:
            return f"nothing of the box is decided: {self.reason}"
        beside = f" beside those in {counted(len(self.points), 'excepted ball')}" if len(self.points) else ""
        new = f"exactly {counted(len(self.inhabited), 'fixed point')}" if len(self.inhabited) else "no fixed point"
        if not len(self.remaining):
            return f"the box holds {new}{beside}: proved, {counted(self.examined, 'part')} bounded"
        text = f"all but {self.undecided:.2g} of the box's volume is proved to hold {new}{beside}; not shown for "
        return text + f"{len(self.remaining)} of its parts, {self.examined} bounded"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Undecided parts (grey), inhabited ones (red), excepted points (blue), in the first two coordinates (or x and 0)."""
        ax = axes_or_new(ax)
        for parts, color in ((self.remaining, "0.6"), (self.inhabited, "#d55e00")):
            for (left, bottom), (right, top) in zip(_flat(parts[:, 0]), _flat(parts[:, 1]), strict=True):
                ax.fill([left, right, right, left], [bottom, bottom, top, top], fc=color, ec=color, alpha=0.5)
        ax.plot(*_flat(self.points).T, "o", color="#0072b2", markersize=4)
        (left, bottom), (right, top) = _flat(self.box)
        ax.fill([left, right, right, left], [bottom, bottom, top, top], fill=False, ec="0.3", linewidth=0.8)
        ax.set(xlabel="state 1", ylabel="state 2")
        return ax


def certify_absence(
    dynamics: Dynamics,
    box: Any = None,
    *,
    except_for: tuple[Any, Any] | None = None,
    splits: int = 20_000,
    watch: Watch = quiet,
) -> Absence:
    """Prove that a box holds no fixed point, or none beside those that are known.

    Parameters
    ----------
    box
        (lower, upper), each a number or (dim,). Left out, the map's trapping box.
    except_for
        (points (found, dim), radii (found,)): balls, in the maximum norm, in which fixed points are known. With the
        ``unique_within`` of ``certify``, a proof says that the list is complete. A NaN radius excepts nothing.
    splits
        Most boxes that are halved.
    watch
        Wraps the search: progress, budget. What is open when it ends is in ``remaining``.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        For a box without finite, ordered sides, a map that does not step in float64, or radii that do not match the points.
    """
    dynamics = autonomous(dynamics, "certify_absence")
    low, high = box_sides(dynamics, box)
    points, radii = _balls(dynamics, except_for)

    whole, margin = torch.stack([low, high])[None], MARGIN * (high - low)
    cover, reason = Cover(whole, whole[:0], 0), ""
    try:
        enclose(dynamics, low[None], torch.zeros_like(low[None]))
        search = covers(cover, lambda parts: _narrowed(dynamics, parts, margin, points, radii), splits)
        for cover in watch(search, splits):
            pass
    except EnclosureError as error:
        reason = str(error)

    apart = ((points[:, None] - points).abs() > (radii[:, None] + radii) * (1 + 8 * EPS)).any(2)
    return Absence(
        box=torch.stack([low, high]).cpu().numpy(),
        remaining=cover.open.cpu().numpy(),
        inhabited=cover.aside.cpu().numpy(),
        points=points.cpu().numpy(),
        radii=radii.cpu().numpy(),
        examined=cover.examined,
        reason=reason,
        checks=(Check("excepted balls that meet", 0.0, float(torch.triu(~apart, diagonal=1).sum()), 0.0),),
    )


def _narrowed(
    dynamics: Dynamics, parts: Tensor, margin: Tensor, points: Tensor, radii: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What of each part may hold fixed points outside the balls, |I - DF| there by columns, and the inhabited ones."""
    low, high = parts.unbind(1)
    center, radius = centered(parts)
    over, at = enclose(dynamics, center, radius), enclose(dynamics, center, torch.zeros_like(center))
    eye = Ball.exact(torch.eye(dynamics.dim).to(low).expand(len(low), -1, -1))
    gap = eye - over.slope
    Y, failed = torch.linalg.inv_ex(torch.nan_to_num(gap.mid))
    inverse = Ball.exact(torch.where(((failed == 0) & torch.isfinite(Y).all(2).all(1))[:, None, None], Y, eye.mid))
    offset = Ball(torch.zeros_like(radius), radius)[..., None]
    moved = (at.value - Ball.exact(center))[..., None]
    krawczyk = Ball.exact(center) + (inverse @ moved + (eye - inverse @ gap) @ offset)[..., 0]
    mean_value = at.value + (over.slope @ offset)[..., 0]

    below, above = _sides(krawczyk)
    into_itself = ((below > low) & (above < high)).all(1)
    for image in (krawczyk, mean_value, over.value):
        below, above = _sides(image)
        low, high = torch.fmax(low, below), torch.fmin(high, above)  # these pass over NaN, the bound of an overflow
    inside = ((low[:, None] >= points - radii) & (high[:, None] <= points + radii)).all(2).any(1)
    apart = ((low[:, None] > points + radii) | (high[:, None] < points - radii)).any(2).all(1)
    still, aside = (low <= high).all(1) & ~inside, into_itself & apart
    narrowed = torch.stack([torch.maximum(low - margin, parts[:, 0]), torch.minimum(high + margin, parts[:, 1])], 1)
    still = still & ~aside
    return narrowed[still], gap.magnitude[still].amax(1), narrowed[aside]


def _sides(ball: Ball) -> tuple[Tensor, Tensor]:
    slack = 4 * EPS * (ball.mid.abs() + ball.rad) + TINY
    return ball.mid - ball.rad - slack, ball.mid + ball.rad + slack


def _balls(dynamics: Dynamics, except_for: tuple[Any, Any] | None) -> tuple[Tensor, Tensor]:
    """Points and radii, (excepted, dim) each, a little smaller than given so that points + radii can be rounded."""
    if except_for is None:
        none = torch.zeros(0, dynamics.dim, dtype=torch.float64, device=dynamics.device)
        return none, none
    points = as_states(dynamics, except_for[0]).double()
    radii = torch.as_tensor(except_for[1], dtype=torch.float64, device=dynamics.device)
    if radii.shape != points.shape[:1]:
        raise InputError(f"{len(points)} excepted points need as many radii, but shape {tuple(radii.shape)} came")
    known = radii > 0
    points, radii = points[known], radii[known, None].expand(-1, dynamics.dim)
    return points, (radii - 4 * EPS * (points.abs() + radii)).clamp(min=0)


def _flat(states: np.ndarray) -> np.ndarray:
    """(..., 2): the first two coordinates."""
    return np.pad(states, [(0, 0), (0, 1)])[:, :2] if states.shape[1] < 2 else states[:, :2]
