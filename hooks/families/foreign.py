"""Maps written outside torch: a step in numpy or JAX, with tangents of its own.

``foreign`` takes any step from arrays to arrays and the slopes that come with it; ``from_jax`` takes a JAX function, whose
tangents JAX carries. Either way autograd has no part, and a step that torch cannot see cannot be enclosed: nothing is proved
of it, and a report of it holds no weights to verify.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hooks.dynamics import Dynamics, TensorLike
from hooks.errors import EnclosureError, InputError
from hooks.trajectory import Clock

Array = Any  # numpy or JAX
DIFFERENCE = "central difference"
WIDTH = float(np.finfo(np.float64).eps) ** (1 / 3)  # balances truncation, width^2, and rounding, eps / width


def foreign(
    step: Callable[[np.ndarray, Any], np.ndarray],
    dim: int,
    *,
    push: Callable[[np.ndarray, np.ndarray, Any], tuple[np.ndarray, np.ndarray]] | None = None,
    jacobian: Callable[[np.ndarray, Any], np.ndarray] | str | None = None,
    inputs: int = 0,
    dt: float = 1.0,
    clock: Clock = "time",
    name: str = "foreign map",
    fingerprint: str = "",
) -> Dynamics:
    """A step from arrays to arrays as a map, with slopes of its own. States are float64 on the CPU.

    Parameters
    ----------
    step
        (batch, dim) states and a drive -> (batch, dim). The drive is None, (inputs,) or (batch, inputs).
    push
        (states, tangents (batch, dim, directions), drive) -> (next states, carried tangents). Made from ``jacobian`` when left
        out.
    jacobian
        (states, drive) -> (batch, dim, dim). Made from ``push`` when left out. "central difference" asks for differences of the
        step itself: 2 dim steps, good to about 1e-10 relative, so an exponent below that is noise. Nothing is differenced
        unasked.
    inputs, dt, clock, name
        As in ``Dynamics``.
    fingerprint
        Names the weights behind the step, if they have a name; a journal tells two runs apart by it.

    Raises
    ------
    InputError
        When a trial step raises or gives another shape. From a slope by autograd, or from any slope when none was given.
    EnclosureError
        From a proof.
    """
    if isinstance(jacobian, str) and jacobian != DIFFERENCE:
        raise InputError(f"jacobian is a function or {DIFFERENCE!r}, not {jacobian!r}")
    slopes = (lambda states, drive: _differences(step, states, drive)) if isinstance(jacobian, str) else jacobian

    def stepped(states: TensorLike, drive: Any) -> Tensor:
        _seen(name, states, drive)
        return _tensor(step(_array(states), _array(drive)))

    def carried(states: Tensor, tangents: Tensor, drive: Any) -> tuple[Tensor, Tensor]:
        if push is not None:
            after, directions = push(_array(states), _array(tangents), _array(drive))
            return _tensor(after), _tensor(directions)
        if slopes is None:
            raise InputError(
                f"{name!r} steps outside torch and came without slopes: give push= or jacobian=, or ask for "
                f'jacobian="{DIFFERENCE}"'
            )
        return stepped(states, drive), slope(states, drive) @ tangents

    def slope(states: Tensor, drive: Any) -> Tensor:
        if slopes is not None:
            return _tensor(slopes(_array(states), _array(drive)))
        return carried(states, torch.eye(dim, dtype=states.dtype).expand(len(states), dim, dim), drive)[1]

    trial = torch.linspace(-1, 1, 2 * dim, dtype=torch.float64).reshape(2, dim)
    drive = torch.zeros(inputs, dtype=torch.float64) if inputs else None
    try:
        after = stepped(trial, drive)
    except Exception as error:  # the user's code may raise anything
        raise InputError(
            f"the step of {name!r} fails on states of shape {(2, dim)} and {inputs} inputs: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    if after.shape != trial.shape:
        raise InputError(f"the step of {name!r} must give states of shape {(2, dim)}; {tuple(after.shape)} came")
    return Dynamics(
        step=stepped,
        dim=dim,
        name=name,
        clock=clock,
        driven=bool(inputs),
        inputs=inputs,
        dt=dt,
        jacobian=slope,
        push=carried,
        fingerprint=fingerprint,
    )


def from_jax(
    step: Callable[[Array, Any], Array],
    dim: int,
    *,
    inputs: int = 0,
    dt: float = 1.0,
    clock: Clock = "time",
    name: str = "JAX map",
    fingerprint: str = "",
) -> Dynamics:
    """A JAX function as a map, compiled, in float64, its tangents carried by ``jax.jvp``.

    Parameters
    ----------
    step
        (batch, dim) states and a drive -> (batch, dim), traceable by ``jax.jit``. The drive is None, (inputs,) or (batch,
        inputs). Weights that it holds in float32 stay so; the arithmetic with them is in float64.
    inputs, dt, clock, name, fingerprint
        As for ``foreign``.

    Raises
    ------
    InputError
        When JAX is not installed (``pip install interp-dynamics[jax]``); otherwise as ``foreign``.

    Notes
    -----
    64-bit arithmetic is switched on around each call alone, so JAX's own setting stays as it was. Batches are filled up
    to the next power of two by repeating a row, so that a search over fewer and fewer states compiles some ten times, not at
    each size; each compilation takes a tenth of a second or more.
    """
    try:
        import jax
    except ImportError:
        raise InputError("from_jax needs JAX, which is not installed: pip install interp-dynamics[jax]") from None

    def along(states: Array, tangents: Array, drive: Any) -> tuple[Array, Array]:
        def one(tangent: Array) -> tuple[Array, Array]:
            return jax.jvp(lambda at: step(at, drive), (states,), (tangent,))

        return jax.vmap(one, in_axes=2, out_axes=(None, 2))(tangents)

    compiled, compiled_along = jax.jit(step), jax.jit(along)

    def stepped(states: np.ndarray, drive: Any) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(compiled(*_filled(states, drive)))[: len(states)]

    def push(states: np.ndarray, tangents: np.ndarray, drive: Any) -> tuple[np.ndarray, np.ndarray]:
        with jax.enable_x64(True):
            after, carried = compiled_along(*_filled(states, tangents, drive))
            return np.asarray(after)[: len(states)], np.asarray(carried)[: len(states)]

    return foreign(stepped, dim, push=push, inputs=inputs, dt=dt, clock=clock, name=name, fingerprint=fingerprint)


def _filled(states: np.ndarray, *others: Any) -> tuple[Any, ...]:
    """The batch and what belongs to its rows, the last one repeated up to the next power of two."""
    more = (1 << max(len(states) - 1, 0).bit_length()) - len(states)

    def longer(value: Any) -> Any:
        return np.concatenate([value, np.repeat(value[-1:], more, axis=0)]) if np.ndim(value) > 1 and more else value

    return longer(states), *(longer(value) for value in others)


def _seen(name: str, states: Any, drive: Any) -> None:
    """Refuses what would ask torch for a slope or a bound of the step."""
    if not isinstance(states, Tensor):
        raise EnclosureError(f"{name!r} steps outside torch, so nothing can be proved of it")
    if any(isinstance(value, Tensor) and value.requires_grad for value in (states, drive)):
        raise InputError(f"{name!r} steps outside torch, so autograd has no slope of it: take push or jacobian")


def _array(value: Any) -> Any:
    """A copy, so that a step that writes into what it is given does no harm."""
    return value.detach().numpy().copy() if isinstance(value, Tensor) else value


def _tensor(value: Any) -> Tensor:
    """A copy in float64: the step may give its own storage, or a read-only view."""
    return torch.from_numpy(np.array(value, dtype=np.float64))


def _differences(step: Callable[[np.ndarray, Any], np.ndarray], states: np.ndarray, drive: Any) -> np.ndarray:
    """(batch, dim, dim) by central differences, all in one batch of 2 dim steps a state."""
    batch, dim = states.shape
    width = WIDTH * np.maximum(1.0, np.abs(states))
    shifts = np.eye(dim) * width[:, None, :]
    both = np.stack([states[:, None] + shifts, states[:, None] - shifts]).reshape(-1, dim)
    rows = np.tile(np.repeat(drive, dim, axis=0), (2, 1)) if np.ndim(drive) == 2 else drive
    up, down = step(both, rows).reshape(2, batch, dim, dim)
    return ((up - down) / (2 * width[:, :, None])).swapaxes(1, 2)
