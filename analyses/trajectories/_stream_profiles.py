"""Profiles of a stream over depth, and the numbers taken from them: arrays in, arrays out."""

from __future__ import annotations

import numpy as np

from analyses.trajectories._depth import text_means

STATISTICS = (
    "correlation of successive sites",
    "cosine of successive sites",
    "growth of the norm",
    "growth of the velocity",
    "growth of the density",
    "growth of the participation ratio",
    "growth of the spread",
    "bend",
    "mutual information of successive sites",
)
INFORMED_UNITS = 64  # evenly spaced, of which information is estimated
RUNS_A_CELL = 5  # on average, of the joint histogram


def profiles_of(states: np.ndarray, texts: np.ndarray) -> dict[str, np.ndarray]:
    """Every profile over depth, by its name in the result."""
    _, texts, count = np.unique(texts, return_inverse=True, return_counts=True)
    weights = 1 / (len(count) * count[texts])
    steps = np.diff(states, axis=1)
    norms, lengths = np.linalg.norm(states, axis=2), np.linalg.norm(steps, axis=2)
    sizes, squares = np.abs(states).mean(axis=2), (states**2).mean(axis=2)
    groups = texts if (count > 1).all() else np.zeros_like(texts)
    centres = np.linalg.norm(text_means(states, groups), axis=2) ** 2
    return {
        "correlations": _correlations(states, weights),
        "cosines": weights @ _ratio(dot(states[:, :-1], states[:, 1:]), norms[:, :-1] * norms[:, 1:]),
        "velocities": weights @ lengths,
        "relative_velocities": weights @ _ratio(lengths, norms[:, :-1]),
        "mutual_information": _information(states),
        "accelerations": weights @ np.linalg.norm(np.diff(steps, axis=1), axis=2),
        "bends": weights @ _ratio(dot(steps[:, :-1], steps[:, 1:]), lengths[:, :-1] * lengths[:, 1:]),
        "norms": weights @ norms,
        "densities": weights @ _ratio(sizes**2, squares),
        "participation_ratios": _participation(states, weights),
        "spreads": np.clip(1 - _ratio(centres, text_means(norms[:, :, None] ** 2, groups)[:, :, 0]), 0, None).mean(
            axis=0
        ),
    }


def statistics_of(profiles: dict[str, np.ndarray]) -> np.ndarray:
    """In the order of STATISTICS."""
    return np.array(
        [
            profiles["correlations"].mean(),
            profiles["cosines"].mean(),
            *(_slope(_log(profiles[name])) for name in ("norms", "velocities")),
            _slope(profiles["densities"]),
            *(_slope(_log(profiles[name])) for name in ("participation_ratios", "spreads")),
            profiles["bends"].mean(),
            profiles["mutual_information"].mean(),
        ]
    )


def _correlations(states: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted Pearson correlation over runs of each unit at successive sites, its mean over the units that vary at both."""
    centred = states - np.tensordot(weights, states, axes=1)
    variances = np.tensordot(weights, centred**2, axes=1)
    together = np.tensordot(weights, centred[:, :-1] * centred[:, 1:], axes=1)
    varies = variances > 1e-24 * np.tensordot(weights, states**2, axes=1)
    both = varies[:-1] & varies[1:]
    found = np.where(both, together / np.sqrt(np.where(both, variances[:-1] * variances[1:], 1.0)), 0.0)
    return np.where(both.any(axis=1), found.sum(axis=1) / np.maximum(both.sum(axis=1), 1), np.nan)


def _participation(states: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(sites,); NaN where all runs are in one state. From the smaller of the covariance and the Gram matrix."""
    centred = ((states - np.tensordot(weights, states, axes=1)) * np.sqrt(weights)[:, None, None]).swapaxes(0, 1)
    turned = centred.swapaxes(1, 2)
    squares = centred @ turned if len(states) < states.shape[2] else turned @ centred
    return _ratio(np.trace(squares, axis1=1, axis2=2) ** 2, (squares**2).sum(axis=(1, 2)))


def _information(states: np.ndarray) -> np.ndarray:
    """(sites - 1,), mean over units; NaN below two bins. Ties are broken by the order of the runs."""
    runs, sites, dim = states.shape
    bins = int(np.sqrt(runs / RUNS_A_CELL))
    if bins < 2:
        return np.full(sites - 1, np.nan)
    chosen = states[:, :, np.unique(np.linspace(0, dim - 1, min(dim, INFORMED_UNITS)).astype(int))]
    binned = chosen.argsort(axis=0, kind="stable").argsort(axis=0) * bins // runs
    pairs = (binned[:, :-1] * bins + binned[:, 1:]).reshape(runs, -1)
    columns = pairs.shape[1]
    joint = np.bincount((pairs + np.arange(columns) * bins**2).ravel(), minlength=columns * bins**2)
    joint = joint.reshape(columns, bins, bins)
    alone = np.bincount(np.arange(runs) * bins // runs, minlength=bins)  # ranks fill every unit's bins alike
    entropy = _entropy(alone[None])[0]
    bias = ((joint > 0).sum(axis=(1, 2)) - 2 * bins + 1) / (2 * runs)
    found = 2 * entropy - _entropy(joint.reshape(columns, -1)) - bias
    return found.reshape(sites - 1, -1).mean(axis=1)


def _entropy(counts: np.ndarray) -> np.ndarray:
    shares = counts / counts.sum(axis=1, keepdims=True)
    return -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=1)


def _slope(profile: np.ndarray) -> float:
    """By least squares, per site."""
    depth = np.arange(len(profile)) - (len(profile) - 1) / 2
    return float(depth @ profile / (depth @ depth))


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.where(values > 0, values, np.nan))


def dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(runs, sites) inner products of states (runs, sites, dim)."""
    return np.einsum("rsd,rsd->rs", one, other)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where the denominator vanishes."""
    return above / np.where(below > 0, below, np.nan)
