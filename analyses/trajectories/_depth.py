"""What the analyses of a stream over depth share: its runs, their texts, and the null of random-weight twins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.result import Null
from hooks.errors import InputError
from hooks.trajectory import Trajectory

TWIN, SCRAMBLED = "random-weight twins", "scrambled twins"
UNLEARNED = {
    TWIN: "training made no difference",
    SCRAMBLED: "the sizes of the trained weights suffice, wherever they stand",
}


def depth_runs(trajectory: Trajectory, analysis: str) -> tuple[np.ndarray, np.ndarray]:
    """States (runs, sites, dim) and the text of each run, 0, 1, ...

    Raises
    ------
    InputError
        When the clock is not "layer", there is no run, a run is short, or there are fewer than three sites.
    """
    runs, sites, dim = trajectory.states.shape
    if trajectory.clock != "layer" or not trajectory.valid.all() or sites < 3 or not runs * dim:
        raise InputError(
            f"{analysis} takes runs over depth, clock 'layer', three sites or more, none padded; clock "
            f"{trajectory.clock!r}, {runs} runs of {sites} sites, {int((~trajectory.valid).sum())} states of padding came"
        )
    texts = trajectory.labels.get("text", np.arange(runs))
    if texts.shape != (runs,):
        raise InputError(f"the label 'text' has one value a run, ({runs},), but shape {texts.shape} came")
    return trajectory.states, np.unique(texts, return_inverse=True)[1]


def refuse_other_shapes(twins: Sequence[tuple[int, int]], states: np.ndarray, analysis: str) -> None:
    """Raise InputError when a twin has other sites or another width than these states."""
    other = next((shape for shape in twins if shape != states.shape[1:]), None)
    if other is not None:
        raise InputError(f"{analysis} compares twins of {states.shape[1:]} (sites, dim), but a twin has {other}")


def text_means(states: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """(texts, sites, dim): the mean over each text's runs."""
    count = texts.max() + 1
    sums = np.zeros((count, *states.shape[1:]))
    np.add.at(sums, texts, states)
    return sums / np.bincount(texts, minlength=count)[:, None, None]


def twin_null(statistic: str, observed: float, drawn: Sequence[float], name: str = TWIN) -> list[Null]:
    """The null of networks of the same shape, untrained or scrambled: none without twins, or without a number."""
    kept = np.array([value for value in drawn if np.isfinite(value)])
    if not np.isfinite(observed) or not len(kept):
        return []
    return [Null(name, UNLEARNED[name], "network", kept, observed, statistic)]
