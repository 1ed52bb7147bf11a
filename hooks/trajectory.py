"""Trajectory: states that happened, with the drives that caused them and labels for what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from hooks.errors import InputError

Clock = Literal["time", "layer", "token", "iteration", "update"]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Recorded states of one map: always three axes, finite, read-only.

    Parameters
    ----------
    states : (runs, steps, dim) float
        One run is ``runs=1``. Runs shorter than the longest are padded with NaN.
    clock
        What one step is: time, layer, token, iteration or update.
    lengths : (runs,) int, optional
        Valid steps of each run; all of them when omitted.
    drives : (runs, steps - 1, inputs) float, optional
        Drive t takes state t to state t + 1.
    labels
        Name -> array of shape (runs,) or (runs, steps).
    source
        Which network, and which place in it.

    Raises
    ------
    InputError
        For a wrong number of axes, labels or lengths that do not fit, or a value that is not finite (the message
        says where the first one is).
    """

    states: np.ndarray
    clock: Clock = "time"
    lengths: np.ndarray | None = None
    drives: np.ndarray | None = None
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        states = np.array(self.states, dtype=np.float64)
        if states.ndim != 3 or states.shape[1] == 0:
            raise InputError(
                f"a trajectory has three axes (runs, steps, dim) and a step at least, but {states.shape} came"
            )
        if self.clock not in get_args(Clock):
            raise InputError(f"the clock is one of {', '.join(get_args(Clock))}, not {self.clock!r}")
        runs, steps, _ = states.shape
        lengths = np.full(runs, steps) if self.lengths is None else np.array(self.lengths, dtype=np.int64)
        if lengths.shape != (runs,) or (runs and not (lengths.min() >= 1 and lengths.max() <= steps)):
            raise InputError(f"lengths must give each of the {runs} runs 1 to {steps} steps, but {lengths} came")
        bad = ~np.isfinite(states).all(axis=2) & (np.arange(steps) < lengths[:, None])
        if bad.any():
            run, step = np.argwhere(bad)[0]
            raise InputError(f"the state of run {run} at step {step} is not finite ({bad.sum()} such states)")
        drives = None if self.drives is None else np.array(self.drives, dtype=np.float64)
        if drives is not None and drives.shape[:2] != (runs, steps - 1):
            raise InputError(
                f"drives need shape ({runs}, {steps - 1}, inputs), one a transition, but {drives.shape} came"
            )
        labels = {name: np.array(values) for name, values in self.labels.items()}
        for name, values in labels.items():
            if values.shape not in ((runs,), (runs, steps)):
                raise InputError(f"label {name!r} has shape {values.shape}; it needs ({runs},) or ({runs}, {steps})")
        for array in (states, lengths, *([] if drives is None else [drives]), *labels.values()):
            array.flags.writeable = False
        for name, value in (("states", states), ("lengths", lengths), ("drives", drives)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "labels", MappingProxyType(labels))

    @property
    def valid(self) -> np.ndarray:
        """Which states happened, (runs, steps) bool; the others are padding."""
        assert self.lengths is not None
        return np.arange(self.states.shape[1]) < self.lengths[:, None]

    def series(self) -> Float[np.ndarray, "series steps"]:
        """Every coordinate of every run as a series, run by run: (runs x dim, steps).

        Raises InputError when runs differ in length.
        """
        assert self.lengths is not None
        runs, steps, dim = self.states.shape
        if (self.lengths != steps).any():
            raise InputError(
                f"series have one length, but runs have {self.lengths.min()} to {self.lengths.max()} steps: cut them first"
            )
        return self.states.transpose(0, 2, 1).reshape(runs * dim, steps)

    def points(self) -> Float[np.ndarray, "points dim"]:
        """All states that happened, run after run."""
        return self.states[self.valid]

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """(now, next) states, each (pairs, dim), never across runs."""
        follows = self.valid[:, 1:]
        return self.states[:, :-1][follows], self.states[:, 1:][follows]

    def select(self, **labels: Any) -> Trajectory:
        """The runs whose per-run labels have these values.

        Raises
        ------
        InputError
            When there is no label of that name with one value a run.
        """
        keep = np.ones(len(self.states), dtype=bool)
        for name, value in labels.items():
            if name not in self.labels or self.labels[name].ndim != 1:
                per_run = [known for known, values in self.labels.items() if values.ndim == 1]
                raise InputError(f"no per-run label {name!r}; there are {per_run}")
            keep &= self.labels[name] == value
        assert self.lengths is not None
        return replace(
            self,
            states=self.states[keep],
            lengths=self.lengths[keep],
            drives=None if self.drives is None else self.drives[keep],
            labels={name: values[keep] for name, values in self.labels.items()},
        )

    def project(self, basis: Float[np.ndarray, "dim kept"], origin: Float[np.ndarray, " dim"]) -> Trajectory:
        """The same runs in the coordinates (state - origin) @ basis."""
        return replace(self, states=(self.states - origin) @ basis)
