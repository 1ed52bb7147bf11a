"""Fits of almost-linear RNNs that came of a study's own training: kept beside it, run freely, read as symbols."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.result import Check, Outcome
from analyses.symbols.almost_linear_fit import AlmostLinearFit
from analyses.symbols.entropy import entropy_rate
from analyses.symbols.exact_fixed_points import exact_fixed_points
from analyses.symbols.forbidden_words import forbidden_words
from analyses.symbols.graph_comparison import compare_graphs
from analyses.symbols.markov_order import markov_order
from analyses.symbols.region_table import RegionTable, region_table
from analyses.symbols.regions import Regions, regions
from analyses.symbols.symbolic_graph import symbolic_graph
from case_studies._train import shipped_weights
from hooks.dynamics import rollout
from hooks.trajectory import Trajectory
from interp.journal import Journal

WEIGHTS = ("A", "W", "h", "L")


def write_fit(fit: AlmostLinearFit, path: Path) -> None:
    """What ``kept_fit`` reads, weights in float32: an almost-linear fit that was trained so, to its end, loses nothing."""
    (check,) = fit.checks
    others = {name: getattr(fit, name) for name in ("relu", "shift", "scale", "saves", "losses", "divergences")}
    weights = {name: getattr(fit, name).astype(np.float32) for name in WEIGHTS}
    save_file({**weights, **others, "reference": np.array(fit.reference), "slope": np.array(check.got)}, path)


def kept_fit(name: str) -> AlmostLinearFit:
    """The fit that an earlier training gave: ``weights/name.safetensors``."""
    kept = {key: tensor.numpy() for key, tensor in shipped_weights(name).items()}
    runs, latent = kept["A"].shape
    slope, reference = float(kept.pop("slope")), float(kept.pop("reference"))
    return AlmostLinearFit(
        form="almost linear",
        **{key: value.astype(np.float64) if key in WEIGHTS else value for key, value in kept.items()},
        V=np.zeros((runs, 0, latent)),
        g=np.zeros((runs, 0)),
        reference=reference,
        outcomes=tuple(
            Outcome.CONVERGED if np.isfinite(column).any() else Outcome.DIVERGED for column in kept["divergences"].T
        ),
        checks=(Check("slope of the loss along its gradient, over its norm", 1.0, slope, 1e-3),),
    )


def is_of(fit: AlmostLinearFit, shown: np.ndarray) -> bool:
    """Whether a standardised fit is of this recording (steps, outputs), by its mean and deviation."""
    return shown.shape[1] == len(fit.shift) and bool(
        np.allclose(shown.mean(axis=0), fit.shift, atol=1e-6) and np.allclose(shown.std(axis=0), fit.scale, atol=1e-6)
    )


def free_runs(fit: AlmostLinearFit, run: int, *, orbits: int, steps: int, burn_in: int) -> Trajectory:
    """Orbits (orbits, steps, dim) of one model from states about the recording's mean; those that overflow are left out."""
    generator = torch.Generator().manual_seed(0)
    aside = torch.randn(orbits, len(fit.shift), generator=generator, dtype=torch.float64).numpy()
    starts = fit.start(run, fit.shift + 0.1 * fit.scale * aside)
    whole = rollout(fit.model(run).dynamics(), starts, steps=burn_in + steps - 1)
    return Trajectory(whole.states[whole.valid.all(axis=1), burn_in:])


def said(fit: AlmostLinearFit, orbits: Trajectory) -> Trajectory:
    """What orbits say, in standard deviations of the recording."""
    return Trajectory(orbits.states[..., : len(fit.shift)])


def in_units(fit: AlmostLinearFit, recorded: np.ndarray) -> Trajectory:
    """A recording (runs, steps, outputs) as the models see it."""
    return Trajectory((recorded - fit.shift) / fit.scale)


def largest(spectrum: LyapunovSpectrum) -> tuple[float, float]:
    """The largest exponent of the attractor where most starts end, with its standard error; NaN when all leave every bound."""
    if not len(spectrum.exponents):
        return float("nan"), float("nan")
    return float(spectrum.exponents[0, 0]), float(spectrum.standard_errors[0, 0])


def chaotic(spectrum: LyapunovSpectrum) -> bool:
    """Whether the largest exponent is above 0 by three standard errors."""
    rate, error = largest(spectrum)
    return rate > 3 * error


@dataclass(frozen=True, eq=False)
class Recorded:
    """What a study of a recording examines."""

    recorded: np.ndarray  # (steps, outputs); no step when none is at hand
    updates: int  # of a training; 0 for the shipped models
    runs: int
    steps: int  # of an orbit
    note: str  # what titles end with when claims are not judged


@dataclass(frozen=True, eq=False)
class Account:
    """What models of one recording do when they run freely, the best in training first; those that overflow are left out."""

    order: tuple[int, ...]
    orbits: tuple[Trajectory, ...]
    codes: tuple[Regions, ...]
    spectra: tuple[LyapunovSpectrum, ...]
    tables: tuple[RegionTable, ...]
    sentences: tuple[str, ...]


def account(
    journal: Journal, fit: AlmostLinearFit, *, orbits: int, steps: int, note: str, name: str = "run"
) -> Account:
    """Regions, what they do and exponents of every model; of the best one also its graph, fixed points and code of jumps.

    Titles begin with what they hold and end with ``name``, the rank and ``note``.
    """
    ranked = [int(run) for run in fit.smallest.argsort() if np.isfinite(fit.smallest[run])]
    free = {run: free_runs(fit, run, orbits=orbits, steps=steps, burn_in=1000) for run in ranked}
    order = tuple(run for run in ranked if len(free[run].states))
    own = tuple(free[run] for run in order)
    codes, tables, spectra = [], [], []
    for rank, (run, orbit) in enumerate(zip(order, own, strict=True), 1):
        network = fit.model(run)
        codes.append(journal.note(f"regions, {name} {rank}{note}", regions, orbit, network=network))
        tables.append(journal.note(f"what the regions do, {name} {rank}{note}", region_table, network, orbit))
        spectra.append(
            journal.note(
                f"exponents, {name} {rank}, per step{note}",
                lyapunov_spectrum, network.dynamics(), orbit.states[:, 0], steps=steps, directions=3,
            )
        )  # fmt: skip
    if not order:
        return Account(order, own, (), (), (), (f"0 of {len(ranked)} models run freely without overflowing.",))
    best, of_best = fit.model(order[0]), f", {name} 1{note}"
    graph = journal.note(f"graph{of_best}", symbolic_graph, codes[0])
    points = journal.note(f"every fixed point{of_best}", exact_fixed_points, best)
    jumps = codes[0].jump_coded()
    rate = journal.note(f"entropy of the jumps{of_best}", entropy_rate, jumps)
    memory = journal.note(f"Markov order of the jumps{of_best}", markov_order, jumps)
    absent = journal.note(f"forbidden words of the jumps{of_best}", forbidden_words, jumps)
    growth = ", ".join(
        "{:+.3g} ± {:.1g}".format(*largest(one)) if len(one.exponents) else "unbounded" for one in spectra
    )
    sentences = [
        f"Largest exponents per step, best {name} first: {growth}.",
        f"The best: {graph.summary()}; {tables[0].summary()}; in all it has {points.summary()}.",
        f"Its code of jumps: {rate.summary()}; {memory.summary()}; {absent.summary()}.",
    ]
    if len(codes) > 1:
        alike = journal.note(f"graphs, {name} 1 and {name} 2{note}", compare_graphs, *codes[:2], match="ranks")
        sentences.append(f"Beside the second best: {alike.summary()}.")
    return Account(order, own, tuple(codes), tuple(spectra), tuple(tables), tuple(sentences))
