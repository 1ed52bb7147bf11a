"""An affine map for each class of recorded states, fitted by least squares: the simplest network that has these classes.

A state belongs to the class whose mean is nearest, and moves as x -> A x + B u + b of that class. It asks how much of a network
a partition of its states explains when each part is taken for linear.

Takes a Trajectory and the class of each state; costs one least-squares fit a class, of smallest norm where the states of a
class leave it open.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hooks.dynamics import Dynamics, digest
from hooks.errors import InputError
from hooks.trajectory import Trajectory


def affine_pieces(trajectory: Trajectory, classes: Any) -> Dynamics:
    """The map of affine pieces that fits a recording best, one step at a time.

    Parameters
    ----------
    trajectory
        Driven or not; its drives become the map's.
    classes : (runs, steps) of whole numbers
        Of each state; a negative one leaves the step from it out.

    Raises
    ------
    InputError
        When the classes do not fit, or no step starts in any of them.
    """
    labels = np.asarray(classes)
    runs, steps, dim = trajectory.states.shape
    if labels.shape != (runs, steps) or labels.dtype.kind not in "iub":
        raise InputError(
            f"classes are whole numbers ({runs}, {steps}), one a state, but {labels.dtype} {labels.shape} came"
        )
    now, after = trajectory.pairs()
    stepping = trajectory.valid[:, 1:]
    own = labels[:, :-1][stepping].astype(np.int64)
    drives = np.zeros((len(now), 0)) if trajectory.drives is None else trajectory.drives[stepping]
    if not (own >= 0).any():
        raise InputError("no step starts in a state that has a class")
    terms = np.concatenate([now, drives, np.ones((len(now), 1))], axis=1)
    named = np.unique(own[own >= 0])
    fits = torch.as_tensor(np.stack([np.linalg.lstsq(terms[own == c], after[own == c], rcond=None)[0] for c in named]))
    means = torch.as_tensor(np.stack([now[own == c].mean(axis=0) for c in named]))
    driven = trajectory.drives is not None
    A, B, b = fits[:, :dim], fits[:, dim:-1], fits[:, -1]

    def piece(states: Tensor) -> Tensor:
        return torch.cdist(states, means).argmin(dim=1)

    def step(states: Tensor, drive: Any) -> Tensor:
        at = piece(states)
        moved = (states[:, None] @ A[at])[:, 0] + b[at]
        return moved + (drive.expand(len(states), -1)[:, None] @ B[at])[:, 0] if driven else moved

    return Dynamics(
        step,
        dim,
        name=f"{len(named)} affine pieces of {trajectory.source or 'a recording'}",
        clock=trajectory.clock,
        driven=driven,
        inputs=drives.shape[1],
        jacobian=lambda states, _: A[piece(states)].mT,
        fingerprint=digest(fits, means),
    )
