"""Rigorous bounds on a step and its slope: torch operations on balls, for proofs.

An ``Enclosure`` stands in for a state tensor: ``mid +- rad`` holds the value at every point of a box of states, and
``slope_mid +- slope_rad`` holds the Jacobian at every point of that box. It answers torch functions through
``__torch_function__``, so any step written in the operations of ``RULES`` is bounded by running it; another operation
is refused by name. Bounds hold for these weights in exact arithmetic: every sum and product is widened by its
rounding error (gamma_n of Higham, Accuracy and Stability, section 3.1), elementary functions by ``ULPS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hooks.dynamics import Dynamics
from hooks.errors import EnclosureError

EPS = torch.finfo(torch.float64).eps
TINY = 1e-300  # an absolute floor: covers underflow
ULPS = 8.0  # torch's vectorised tanh, exp and sigmoid stay within 4 units in the last place in float64


@dataclass(frozen=True, eq=False)
class Ball:
    """Numbers known to lie within ``rad`` of ``mid``, elementwise."""

    mid: Tensor
    rad: Tensor

    @property
    def magnitude(self) -> Tensor:
        """An upper bound of the absolute value."""
        return (self.mid.abs() + self.rad) * (1 + 2 * EPS)

    def __add__(self, other: Ball) -> Ball:
        mid = self.mid + other.mid
        return _widened(mid, self.rad + other.rad)

    def __neg__(self) -> Ball:
        return Ball(-self.mid, self.rad)

    def __sub__(self, other: Ball) -> Ball:
        return self + -other

    def __mul__(self, other: Ball) -> Ball:
        mid = self.mid * other.mid
        return _widened(mid, self.mid.abs() * other.rad + self.rad * (other.mid.abs() + other.rad))

    def __getitem__(self, where: Any) -> Ball:
        return Ball(self.mid[where], self.rad[where])

    def __matmul__(self, other: Ball) -> Ball:
        """Matrix product; the rounding of n products and sums is bounded by n eps |A| |B|."""
        terms = self.mid.shape[-1] + 4
        rounded = other.rad + terms * EPS * other.mid.abs()
        rad = self.mid.abs() @ rounded
        if self.rad.any():  # weights are exact
            rad = rad + self.rad @ (other.mid.abs() + other.rad)
        return Ball(self.mid @ other.mid, rad * (1 + 4 * terms * EPS) + TINY)

    def through(self, function: Callable[[Tensor], Tensor]) -> Ball:
        """Image under an increasing function whose rounding is ``ULPS`` units in the last place."""
        low, high = function(_down(self.mid - self.rad)), function(_up(self.mid + self.rad))
        mid = (low + high) / 2
        slack = ULPS * EPS * torch.maximum(low.abs(), high.abs())
        return Ball(mid, ((high - low) / 2 + slack) * (1 + 4 * EPS) + EPS * mid.abs() + TINY)

    @staticmethod
    def exact(tensor: Tensor) -> Ball:
        return Ball(tensor, torch.zeros_like(tensor))


@dataclass(frozen=True, eq=False)
class Enclosure:
    """Value and slope of an intermediate of a step, over a box of states; stands where a tensor stands."""

    value: Ball  # (batch, units)
    slope: Ball  # (batch, units, dim)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        rule = RULES.get(getattr(function, "__name__", str(function)))
        if rule is None:
            raise EnclosureError(
                f"no rigorous bound is known for the operation {getattr(function, '__name__', function)!r} in this step "
                f"(known: {', '.join(sorted(name for name in RULES if not name.startswith('__')))})"
            )
        return rule(*args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Methods of a tensor, as in states.tanh()."""
        if name.startswith("_") or name not in RULES:
            raise AttributeError(f"no rigorous bound is known for the method {name!r}")
        return partial(RULES[name], self)

    @property
    def shape(self) -> torch.Size:
        return self.value.mid.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def dim(self) -> int:
        return len(self.shape)

    def size(self, axis: int | None = None) -> Any:
        return self.shape if axis is None else self.shape[axis]

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Enclosure, ...]:
        """Equal parts along the unit axis."""
        width = -(-self.shape[1] // chunks) if self.ndim == 2 else 0
        if dim not in (-1, 1) or not width:
            raise EnclosureError("chunk is bounded along the unit axis only")
        return tuple(self[:, start : start + width] for start in range(0, self.shape[1], width))

    def __len__(self) -> int:
        return len(self.value.mid)

    def __add__(self, other: Any) -> Enclosure:
        if isinstance(other, Enclosure):
            return Enclosure(self.value + other.value, self.slope + other.slope)
        return Enclosure(self.value + _constant(other, self), self.slope)

    def __mul__(self, other: Any) -> Enclosure:
        if isinstance(other, Enclosure):
            left = _column(self.value) * other.slope
            return Enclosure(self.value * other.value, left + _column(other.value) * self.slope)
        factor = _constant(other, self)
        return Enclosure(self.value * factor, _column(factor) * self.slope)

    def __neg__(self) -> Enclosure:
        return Enclosure(-self.value, -self.slope)

    def __sub__(self, other: Any) -> Enclosure:
        return self + -other

    def __truediv__(self, other: Any) -> Enclosure:
        if isinstance(other, Enclosure):  # (a / b)' = (a' - (a / b) b') / b
            inverse = _inverse(other.value)
            ratio = self.value * inverse
            return Enclosure(ratio, _column(inverse) * (self.slope - _column(ratio) * other.slope))
        divisor = _constant(other, self).mid
        if (divisor == 0).any():
            raise EnclosureError("the step divides by zero")
        factor = _widened(1 / divisor, torch.zeros_like(divisor))
        return Enclosure(self.value * factor, _column(factor) * self.slope)

    def __rsub__(self, other: Any) -> Enclosure:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __pow__(self, exponent: Any) -> Enclosure:
        if not isinstance(exponent, int) or exponent < 1:
            raise EnclosureError(f"powers are bounded for whole exponents from 1 on, not {exponent}")
        power = self
        for _ in range(exponent - 1):
            power = power * self
        return power

    def __matmul__(self, other: Any) -> Enclosure:
        if isinstance(other, Enclosure) or other.ndim != 2:
            raise EnclosureError("a matrix product is bounded for a moving state times a fixed matrix only")
        return _linear(self, other.mT)

    def __getitem__(self, where: Any) -> Enclosure:
        if (
            not isinstance(where, tuple)
            or len(where) != 2
            or where[0] not in (Ellipsis, slice(None))
            or not isinstance(where[1], slice | int | Tensor)
            or (isinstance(where[1], Tensor) and (where[1].ndim != 1 or where[1].dtype != torch.int64))
        ):
            raise EnclosureError(
                f"a step may index units, as in states[..., a:b], states[:, a] or by a list of units, but not with {where}"
            )
        return Enclosure(self.value[:, where[1]], self.slope[:, where[1]])


def enclose(dynamics: Dynamics, center: Tensor, radius: Tensor, drive: Any = None) -> Enclosure:
    """Bounds of the step and its Jacobian over the boxes center +- radius.

    Parameters
    ----------
    center, radius : (batch, dim) float64
        Radius 0 bounds the rounding error of the step itself.

    Returns
    -------
    Enclosure
        value (batch, dim) and slope (batch, dim, dim), each mid +- rad.

    Raises
    ------
    EnclosureError
        When the step uses an operation without a known bound (it is named), or is not in float64.

    Cost: a few steps with ``dim`` tangents; memory batch x dim x dim.
    """
    if dynamics.dtype != torch.float64:
        raise EnclosureError(f"proofs are made in float64, and {dynamics.name!r} steps in {dynamics.dtype}")
    eye = torch.eye(dynamics.dim, dtype=torch.float64, device=center.device).expand(len(center), -1, -1)
    state = Enclosure(Ball(center, radius), Ball.exact(eye))
    try:
        with torch.no_grad():
            after: Any = dynamics.step(state, drive)  # stands in for a tensor
    except (TypeError, AttributeError) as error:  # what an enclosure has no answer to
        raise EnclosureError(f"a step of {dynamics.name!r} uses an operation without a known bound: {error}") from None
    if not isinstance(after, Enclosure) or after.shape != center.shape:
        raise EnclosureError(f"a step of {dynamics.name!r} does not pass its state through the known operations")
    return after


def _widened(mid: Tensor, rad: Tensor) -> Ball:
    return Ball(mid, (rad + EPS * mid.abs()) * (1 + 8 * EPS) + TINY)


def _up(value: Tensor) -> Tensor:
    return value + EPS * value.abs() + TINY


def _down(value: Tensor) -> Tensor:
    return value - EPS * value.abs() - TINY


def _column(ball: Ball) -> Ball:
    return Ball(ball.mid[..., None], ball.rad[..., None])


def _inverse(ball: Ball) -> Ball:
    """1 / x, decreasing on either side of zero; of no bound where the ball holds zero."""
    low, high = 1 / _up(ball.mid + ball.rad), 1 / _down(ball.mid - ball.rad)
    mid = (low + high) / 2
    rad = ((high - low) / 2 + 2 * EPS * torch.maximum(low.abs(), high.abs())) * (1 + 4 * EPS) + EPS * mid.abs() + TINY
    held = ball.mid.abs() <= ball.rad * (1 + 4 * EPS) + TINY
    return Ball(torch.where(held, 0.0, mid), torch.where(held, torch.inf, rad))


def _constant(value: Any, like: Enclosure) -> Ball:
    tensor = torch.as_tensor(value, dtype=torch.float64, device=like.value.mid.device)
    if tensor.ndim > len(like.shape) or torch.broadcast_shapes(tensor.shape, like.shape) != like.shape:
        raise EnclosureError(f"a constant of shape {tuple(tensor.shape)} would widen a state of {tuple(like.shape)}")
    return Ball.exact(tensor)


def _linear(state: Any, W: Tensor, b: Tensor | None = None) -> Enclosure:
    if not isinstance(state, Enclosure) or isinstance(W, Enclosure) or isinstance(b, Enclosure):
        raise EnclosureError("linear is bounded for fixed weights and a moving state only")
    if len(state.shape) != 2:
        raise EnclosureError("linear is bounded for whole states (batch, units) only")
    weights = Ball.exact(W.mT)
    value = state.value @ weights
    return Enclosure(value if b is None else value + Ball.exact(b), Ball.exact(W) @ state.slope)


def _tanh(state: Enclosure) -> Enclosure:
    after = state.value.through(torch.tanh)
    return Enclosure(after, _column(_one_minus_square(after)) * state.slope)


def _sigmoid(state: Enclosure) -> Enclosure:
    after = state.value.through(torch.sigmoid)
    slope = _one_minus_square(_widened(2 * after.mid - 1, 2 * after.rad))  # of tanh at half the argument: 4 s (1 - s)
    return Enclosure(after, _column(Ball(slope.mid / 4, slope.rad / 4)) * state.slope)


def _softplus(state: Enclosure) -> Enclosure:
    after = state.value.through(log_one_plus_exp)
    # torch's softplus answers x itself above 20, off by log(1 + exp(-20)) at most: widened to cover both functions
    after = Ball(after.mid, after.rad + 2.1e-9 * (state.value.mid + state.value.rad > 20 - 1e-9))
    return Enclosure(after, _column(state.value.through(torch.sigmoid)) * state.slope)


def log_one_plus_exp(value: Tensor) -> Tensor:
    """The exact softplus, increasing everywhere."""
    return torch.logaddexp(value, torch.zeros_like(value))


def _exp(state: Enclosure) -> Enclosure:
    after = state.value.through(torch.exp)
    return Enclosure(after, _column(after) * state.slope)


def _wave(function: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]) -> Callable[[Enclosure], Enclosure]:
    """sin and cos: both they and their slopes move by no more than their argument."""

    def bounded(state: Enclosure) -> Enclosure:
        angle = state.value
        slack = angle.rad + ULPS * EPS
        return Enclosure(_widened(function(angle.mid), slack), _column(_widened(slope(angle.mid), slack)) * state.slope)

    return bounded


def _relu(state: Enclosure, inplace: bool = False) -> Enclosure:  # the module always says which
    low, high = _down(state.value.mid - state.value.rad), _up(state.value.mid + state.value.rad)
    on, off = (low > 0).to(low), (high <= 0).to(low)
    unsure = 1 - on - off  # the box crosses the kink: the slope lies in [0, 1]
    gate = Ball(on + unsure / 2, unsure / 2)
    return Enclosure(state.value.through(torch.relu), _column(gate) * state.slope)


def _abs(state: Enclosure) -> Enclosure:
    return _relu(state) + _relu(-state)


def _one_minus_square(ball: Ball) -> Ball:
    """1 - t^2 by its range, [1 - high^2, 1 - low^2] over the absolute values low to high."""
    low = (ball.mid.abs() - ball.rad).clamp(min=0) * (1 - 4 * EPS)
    high = ball.magnitude
    spread = (high * high - low * low) / 2
    return _widened(1 - (low * low + high * high) / 2, spread * (1 + 8 * EPS) + 8 * EPS * high * high)


def _sum(state: Enclosure, dim: Any = None, **_: Any) -> Enclosure:
    """Over the units; n additions round by n eps of the sum of absolute values."""
    if dim not in (-1, 1, (1,), (-1,), [1], [-1]) or len(state.shape) != 2:
        raise EnclosureError("sum is bounded over the units only, as in x.sum(1)")

    def summed(ball: Ball) -> Ball:
        rounding = ball.mid.shape[1] * EPS * ball.mid.abs().sum(1)
        return Ball(ball.mid.sum(1), (ball.rad.sum(1) + rounding) * (1 + 2 * ball.mid.shape[1] * EPS) + TINY)

    return Enclosure(summed(state.value), summed(state.slope))


def _cat(parts: Any, dim: int = 0) -> Enclosure:
    return _joined(parts, dim, torch.cat, "cat")


def _stack(parts: Any, dim: int = 0) -> Enclosure:
    return _joined(parts, dim, torch.stack, "stack")


def _joined(parts: Any, dim: int, join: Callable[..., Tensor], name: str) -> Enclosure:
    """Parts side by side along the unit axis; those of ``stack`` are single units, (batch,)."""
    single = 1 if name == "stack" else 2
    if dim not in (-1, 1) or not all(isinstance(part, Enclosure) and len(part.shape) == single for part in parts):
        raise EnclosureError(f"{name} is bounded for parts of the state along the unit axis only")
    return Enclosure(
        *(Ball(*(join([getattr(ball, side) for ball in balls], 1) for side in ("mid", "rad")))
          for balls in ([part.value for part in parts], [part.slope for part in parts]))
    )  # fmt: skip


def _rnn_cell(phi: Callable[[Enclosure], Enclosure]) -> Callable[..., Enclosure]:
    def cell(x: Tensor, h: Enclosure, W_x: Tensor, W_h: Tensor, b_x: Any = None, b_h: Any = None) -> Enclosure:
        return phi(_linear(h, W_h, b_h) + torch.nn.functional.linear(x, W_x, b_x))

    return cell


def _gru_cell(x: Tensor, h: Enclosure, W_x: Tensor, W_h: Tensor, b_x: Any = None, b_h: Any = None) -> Enclosure:
    r_x, z_x, n_x = torch.nn.functional.linear(x, W_x, b_x).chunk(3, -1)
    r_h, z_h, n_h = _linear(h, W_h, b_h).chunk(3, -1)
    n = _tanh(_sigmoid(r_h + r_x) * n_h + n_x)
    return n + _sigmoid(z_h + z_x) * (h - n)


def _lstm_cell(x: Tensor, state: Any, W_x: Tensor, W_h: Tensor, b_x: Any = None, b_h: Any = None) -> Any:
    h, c = state
    i, f, g, o = (_linear(h, W_h, b_h) + torch.nn.functional.linear(x, W_x, b_x)).chunk(4, -1)
    c = _sigmoid(f) * c + _sigmoid(i) * _tanh(g)
    return _sigmoid(o) * _tanh(c), c


def _swapped(rule: Callable[[Enclosure, Any], Enclosure]) -> Callable[[Any, Any], Enclosure]:
    return lambda first, second: rule(first, second) if isinstance(first, Enclosure) else rule(second, first)


def _sub(first: Any, second: Any) -> Enclosure:
    return first - second if isinstance(first, Enclosure) else second.__rsub__(first)


_ADD, _MUL = _swapped(Enclosure.__add__), _swapped(Enclosure.__mul__)

RULES: Mapping[str, Callable[..., Any]] = {
    "linear": _linear, "tanh": _tanh, "sigmoid": _sigmoid, "softplus": _softplus, "relu": _relu,
    "exp": _exp, "sin": _wave(torch.sin, torch.cos), "cos": _wave(torch.cos, lambda angle: -torch.sin(angle)),
    "silu": lambda state, **_: state * _sigmoid(state), "square": lambda state: state * state,
    "pow": Enclosure.__pow__, "__pow__": Enclosure.__pow__, "matmul": Enclosure.__matmul__,
    "__matmul__": Enclosure.__matmul__, "cat": _cat, "stack": _stack, "sum": _sum,
    "rnn_tanh_cell": _rnn_cell(_tanh), "rnn_relu_cell": _rnn_cell(_relu), "gru_cell": _gru_cell, "lstm_cell": _lstm_cell,
    "add": _ADD, "mul": _MUL, "sub": _sub, "neg": Enclosure.__neg__, "div": Enclosure.__truediv__, "abs": _abs,
    "__add__": _ADD, "__radd__": _ADD, "__mul__": _MUL, "__rmul__": _MUL, "__sub__": _sub,
    "__rsub__": lambda first, second: second - first, "rsub": lambda first, second: second - first,
}  # fmt: skip
