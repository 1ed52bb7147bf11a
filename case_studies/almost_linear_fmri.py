"""Almost-linear RNNs of brain regions: which linear regions carry a recording of 20 channels, and would noise give them too?

Brenner, Hemmer, Monfared and Durstewitz (NeurIPS 2024) train 50 units, the last two rectified, on 360 steps of 20 brain regions
and find a virtual stable point and a saddle spiral in the two regions visited most. Here five models were trained on their
example recording by their recipe with 30 000 of its 100 000 updates, and five on a phase-randomised copy, a linear Gaussian
process of the same spectra and cross-spectra: what both have is no mark of the task. All of so short a recording is trained on,
as theirs is.

The recording is public but not ours to ship: fmri.npy of github.com/DurstewitzLab/ALRNN-DSR, given as ``--data``. Without it
the shipped models run freely, and what needs the recording is not measured. Any other recording of several channels, EEG too,
is trained on: briefly at "quick", which then judges no claim, by the whole recipe at "full". "tiny" trains for a moment on a
stand-in, slow rhythms mixed into 20 channels. No stages of the task come with the array, so symbols are not held against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analyses.surrogates import phase_randomised
from analyses.symbols.almost_linear_fit import AlmostLinearFit, TeacherForcing, fit_almost_linear
from analyses.symbols.region_table import RegionTable
from analyses.trajectories.power_spectrum_distance import power_spectrum_distance
from analyses.trajectories.state_space_divergence import Mixture, state_space_divergence
from case_studies._fits import Recorded, account, chaotic, free_runs, in_units, is_of, kept_fit, said
from case_studies._recordings import recording
from case_studies._study import CaseStudy, number_of
from hooks.errors import InputError
from hooks.watch import Watch, quiet
from interp.claims import Claim
from interp.journal import Journal

RELU, CHANNELS, BEYOND = 2, 20, 30  # units beyond the channels
LENGTH = 72  # steps of a training sequence
ORBITS = 4
TRAINING, COPY = "training", "training on the phase-randomised copy"
SOURCE = "fmri.npy of github.com/DurstewitzLab/ALRNN-DSR, or a recording of openneuro.org"


def prepare(*, data: str, updates: int, runs: int, steps: int, judged: bool) -> Recorded:
    """The recording at ``data``; a stand-in at scales that train without judging; nothing for the shipped models."""
    if not data and judged and updates:
        raise InputError(f"this scale trains on a recording: give one as --data, such as {SOURCE}")
    if not data and judged:
        return Recorded(np.zeros((0, CHANNELS)), 0, runs, steps, "")
    if not data:
        return Recorded(stand_in(360), updates, runs, steps, ", stand-in")
    recorded = recording(data)
    if recorded.shape[1] < 2 or len(recorded) <= 2 * LENGTH:
        raise InputError(
            f"several channels of more than {2 * LENGTH} steps are needed, but {recorded.shape[0]} steps of "
            f"{recorded.shape[1]} came"
        )
    if updates or is_of(kept_fit("fmri_almost_linear"), recorded):
        return Recorded(recorded, updates, runs, steps, "" if judged else ", too short to judge")
    return Recorded(recorded, 2000, 2, steps, ", too short to judge")


def stand_in(steps: int) -> np.ndarray:
    """(steps, CHANNELS) three slow rhythms of wandering phase, mixed, with a little noise."""
    draw = np.random.default_rng(0)
    phases = np.cumsum(2 * np.pi / np.array([20, 45, 72]) * (1 + 0.3 * draw.normal(size=(steps, 3))), axis=0)
    return np.sin(phases) @ draw.normal(size=(3, CHANNELS)) + 0.05 * draw.normal(size=(steps, CHANNELS))


def fit(
    recorded: np.ndarray, *, runs: int, updates: int, surrogate: bool = False, watch: Watch = quiet
) -> AlmostLinearFit:
    """Models of a recording, or of a phase-randomised copy; the shipped ones are 5 runs of 30 000 updates of each."""
    shown = phase_randomised(recorded[None])[0] if surrogate else recorded
    recipe = TeacherForcing(steps=updates, every=7, length=LENGTH, learning_rates=(5e-3, 1e-5), noise=0.0)
    return fit_almost_linear(
        shown, shown.shape[1] + BEYOND, RELU, runs=runs, recipe=recipe, standardise=True, select_every=min(1250, updates),
        orbit=2000, watch=watch,
    )  # fmt: skip


def examine(journal: Journal, specimen: Recorded) -> tuple[str, ...]:
    """The models' regions, exponents and codes, beside those of the models of the copy."""
    note, recorded = specimen.note, specimen.recorded
    if specimen.updates:
        made = journal.note(f"{TRAINING}{note}", fit, recorded, runs=specimen.runs, updates=specimen.updates)
        copy = journal.note(
            f"{COPY}{note}", fit, recorded, runs=specimen.runs, updates=specimen.updates, surrogate=True
        )
    else:
        made = journal.note(f"{TRAINING}{note}", kept_fit, "fmri_almost_linear")
        copy = journal.note(f"{COPY}{note}", kept_fit, "fmri_copy_almost_linear")
    found = account(journal, made, orbits=ORBITS, steps=specimen.steps, note=note)
    other = account(journal, copy, orbits=ORBITS, steps=specimen.steps, note=note, name="copy")
    sentences = [f"{made.saves[-1]} updates (the paper: 100 000). {made.summary()}.", *found.sentences]
    if len(recorded) and found.order:
        run = found.order[0]
        true = in_units(made, recorded[None])
        one = said(made, free_runs(made, run, orbits=1, steps=len(recorded), burn_in=1000))
        far = journal.note(f"Dstsp{note}", state_space_divergence, true, one, form=Mixture())
        apart = journal.note(f"DH{note}", power_spectrum_distance, true, one, smoothing=1.0)
        sentences.append(f"Against the recording it was trained on: {far.summary()}; {apart.summary()}.")
        sentences.append(_weights_beside(made, run, recorded))
    sentences += [f"Of the phase-randomised copy. {sentence}" for sentence in other.sentences[:2]]
    counts = [(sum(map(_both, one.tables)), sum(map(chaotic, one.spectra)), len(one.order)) for one in (found, other)]
    (both, growing, runs), (both_copies, growing_copies, copies) = counts
    answer = (
        f"A virtual stable point and a saddle spiral are the two regions visited most in {both} of {runs} models of the "
        f"recording and in {both_copies} of {copies} of its copy; the largest exponent is positive in {growing} and in "
        f"{growing_copies}. Of so few models only a difference of all from all would tell the recording from its copy."
    )
    return (answer, *sentences)


def _weights_beside(made: AlmostLinearFit, run: int, recorded: np.ndarray) -> str:
    """Over pairs of channels: the correlation of two rows of W with that of their recordings, beside channels exchanged."""
    channels = recorded.shape[1]
    pairs = np.triu_indices(channels, 1)
    weights, data = np.corrcoef(made.W[run, :channels]), np.corrcoef(recorded.T)
    observed = np.corrcoef(weights[pairs], data[pairs])[0, 1]
    draw = np.random.default_rng(0)
    exchanged = [
        np.corrcoef(weights[np.ix_(order, order)][pairs], data[pairs])[0, 1]
        for order in (draw.permutation(channels) for _ in range(999))
    ]
    p = (1 + int((np.abs(exchanged) >= abs(observed)).sum())) / 1000
    return (
        f"Over {len(pairs[0])} pairs of channels, rows of W correlate as the recordings do with r = {observed:.2g}, channels "
        f"exchanged at random: p = {p:.2g} (the paper: about 0.76, of weights whose definition was not accessible)."
    )


def _virtual_sink(table: RegionTable) -> bool:
    """One of the two regions visited most has a stable fixed point outside itself."""
    size = np.abs(table.eigenvalues[:2, 0])
    return bool((~table.real[:2] & (size < 1) & (table.shares[:2] > 0)).any())


def _saddle_spiral(table: RegionTable) -> bool:
    """One of them turns outwards along a complex leading pair while other directions shrink."""
    size = np.abs(table.eigenvalues[:2])
    turning = np.isfinite(table.turns[:2])
    return bool(((size[:, 0] > 1) & (size[:, -1] < 1) & turning & (table.shares[:2] > 0)).any())


def _both(table: RegionTable) -> bool:
    return _virtual_sink(table) and _saddle_spiral(table)


def _of_the_copy(results: Mapping[str, Any]) -> float:
    ranks = range(1, 1 + len(results[COPY].relu))
    titles = [f"what the regions do, copy {rank}" for rank in ranks]
    return sum(_both(results[title]) for title in titles if title in results)


PAPER = "Brenner et al. 2024, section 4, our reading"
TABLE, EXPONENTS, YES = "what the regions do, run 1", "exponents, run 1, per step", "yes or no"

study = CaseStudy(
    title="Almost-linear RNNs of brain regions: a virtual sink and a saddle spiral?",
    citation="Brenner, Hemmer, Monfared, Durstewitz, Almost-Linear RNNs Yield Highly Interpretable Symbolic Codes in "
    "Dynamical Systems Reconstruction, NeurIPS 2024; example recording of its repository (fmri.npy)",
    question="Are the two regions visited most a virtual stable point and a saddle spiral, and does noise give the same?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("best run: a virtual stable point in the two regions visited most (1: yes)", 1, PAPER, 0, YES,
              number_of(TABLE, _virtual_sink)),
        Claim("best run: a saddle spiral in the two regions visited most (1: yes)", 1, PAPER, 0, YES,
              number_of(TABLE, _saddle_spiral)),
        Claim("best run: largest exponent above 0 by three standard errors (1: yes)", 1,
              "the paper sets the code's entropy beside a positive exponent", 0, YES,
              number_of(EXPONENTS, chaotic)),
        Claim("models of the copy with a virtual stable point and a saddle spiral in the two regions visited most", 0,
              "a mark of the task is absent from noise of the same spectra", 0, "a count", _of_the_copy),
    ),
    scales={
        "tiny": {"data": "", "updates": 100, "runs": 2, "steps": 1000, "judged": False},
        "quick": {"data": "", "updates": 0, "runs": 5, "steps": 5000, "judged": True},
        "full": {"data": "", "updates": 100_000, "runs": 10, "steps": 30_000, "judged": True},
    },
)  # fmt: skip
