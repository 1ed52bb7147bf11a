"""An affine map for each class of recorded states, fitted by least squares: the simplest network that has these classes.

A state belongs to the class whose mean is nearest, and moves as x -> A x + B u + b of that class; with ``per_drive``, as
x -> A x + b of that class and of the drive, one of the few that were recorded. It asks how much of a network a partition of its
states explains when each part is taken for linear.

Takes a Trajectory and the class of each state; costs one least-squares fit a piece, of smallest norm where its states leave it
open.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hooks.dynamics import Dynamics, digest
from hooks.errors import InputError
from hooks.trajectory import Trajectory


def affine_pieces(trajectory: Trajectory, classes: Any, *, per_drive: bool = False) -> Dynamics:
    """The map of affine pieces that fits a recording best, one step at a time.

    Parameters
    ----------
    trajectory
        Driven or not; its drives become the map's.
    classes : (runs, steps) of whole numbers
        Of each state; a negative one leaves the step from it out.
    per_drive
        A piece for each class and each different drive, as when drives are symbols: gates and rectifiers may leave a network
        linear in its state under each drive, and not in the two together. A new drive counts as the nearest; a class that was
        never left under a drive takes the piece of all its steps.

    Raises
    ------
    InputError
        When the classes do not fit, no step starts in any of them, or there are no drives to tell pieces by.
    """
    labels = np.asarray(classes)
    runs, steps, dim = trajectory.states.shape
    if labels.shape != (runs, steps) or labels.dtype.kind not in "iub":
        raise InputError(
            f"classes are whole numbers ({runs}, {steps}), one a state, but {labels.dtype} {labels.shape} came"
        )
    driven = trajectory.drives is not None
    if per_drive and not driven:
        raise InputError("the recording holds no drives to tell pieces by")
    stepping = trajectory.valid[:, 1:] & (labels[:, :-1] >= 0)
    now, after = trajectory.states[:, :-1][stepping], trajectory.states[:, 1:][stepping]
    own = labels[:, :-1][stepping].astype(np.int64)
    if not len(own):
        raise InputError("no step starts in a state that has a class")
    drives = trajectory.drives[stepping] if trajectory.drives is not None else np.zeros((len(now), 0))
    named, own = np.unique(own, return_inverse=True)
    kinds, kind = np.unique(drives, axis=0, return_inverse=True) if per_drive else (drives[:1], np.zeros_like(own))
    kind = kind.reshape(-1)
    terms = np.concatenate([now, drives, np.ones((len(now), 1))], axis=1)

    def fit(rows: np.ndarray) -> np.ndarray:
        return np.linalg.lstsq(terms[rows], after[rows], rcond=None)[0]

    whole = [own == number for number in range(len(named))]
    parts = [[rows & (kind == number) for number in range(len(kinds))] for rows in whole]
    fits = torch.tensor(
        np.array([[fit(p if p.any() else rows) for p in row] for rows, row in zip(whole, parts, strict=True)])
    )
    means = torch.tensor(np.array([now[rows].mean(axis=0) for rows in whole]))
    A, B, b = fits[:, :, :dim], fits[:, :, dim:-1], fits[:, :, -1]
    told = torch.tensor(kinds)

    def piece(states: Tensor, drive: Any) -> tuple[Tensor, Tensor]:
        at = torch.cdist(states, means).argmin(dim=1)
        return at, torch.cdist(drive.expand(len(states), -1), told).argmin(dim=1) if per_drive else torch.zeros_like(at)

    def step(states: Tensor, drive: Any) -> Tensor:
        at = piece(states, drive)
        moved = (states[:, None] @ A[at])[:, 0] + b[at]
        return moved + (drive.expand(len(states), -1)[:, None] @ B[at])[:, 0] if driven else moved

    return Dynamics(
        step,
        dim,
        name=f"{len(named) * len(kinds)} affine pieces of {trajectory.source or 'a recording'}",
        clock=trajectory.clock,
        driven=driven,
        inputs=drives.shape[1],
        jacobian=lambda states, drive: A[piece(states, drive)].mT,
        fingerprint=digest(fits, means, told),
    )
