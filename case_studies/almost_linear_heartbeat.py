"""Almost-linear RNNs of a heartbeat: do three linear regions carry an electrocardiogram, one of them for the QRS complex?

Brenner, Hemmer, Monfared and Durstewitz (NeurIPS 2024) train 100 units, the last two rectified, on a five-dimensional delay
embedding, and find two weakly unstable spirals and one strongly divergent region, entered at the Q wave. Six models were
trained on 7500 steps (110 beats) of their example recording by their whole recipe. None beats by itself: losses fall, with
bursts, to local minima a factor of two apart, and the best run has R peaks at a sixth of the recording's rate. So the claims
about regions are not measured with these shipped models. "full" trains ten, and one on a phase-randomised copy, a linear
Gaussian process of the same spectra: what it shares with them marks no heart.

The recording is public but not ours to ship: ECG.npy of github.com/DurstewitzLab/ALRNN-DSR, given as ``--data``. Without it the
shipped models run freely, and what needs the recording is not measured. Another recording is trained on: briefly at "quick",
which then judges no claim, by the whole recipe at "full". "tiny" trains for a moment on a stand-in, Gaussian waves once a beat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.signal import find_peaks, resample_poly

from analyses.series.delay_embedding import delay_embedded
from analyses.surrogates import phase_randomised
from analyses.symbols.almost_linear_fit import AlmostLinearFit, TeacherForcing, fit_almost_linear
from analyses.symbols.region_table import RegionTable
from analyses.symbols.regions import Regions, regions
from analyses.trajectories.power_spectrum_distance import power_spectrum_distance
from analyses.trajectories.state_space_divergence import Bins, state_space_divergence
from case_studies._fits import Recorded, account, chaotic, free_runs, in_units, is_of, kept_fit, said
from case_studies._recordings import memory, recording
from case_studies._study import CaseStudy, number_of
from hooks.errors import InputError
from hooks.watch import Watch, quiet
from interp.claims import Claim
from interp.journal import Journal

LATENT, RELU, DIMS = 100, 2, 5
BEAT = 68  # steps of a beat in the authors' recording
BEFORE, AFTER = 9, 4  # steps about an R peak: from the Q wave in the earliest coordinate to the S wave in the first
HELD_OUT = 0.25  # of a recording: its end
DIVERGENT = 1.1  # leading modulus of a strongly divergent region: errors double within 7 steps, a tenth of a beat
ALIKE = 0.1  # of a beat's length: a model whose beats differ by more does not beat
ORBITS = 4
TRAINING, COPY = "training", "training on the phase-randomised copy"
BEATS = "regions at the R peaks of the best run"
QRS, ANYWHERE = "regions in the QRS complex", "regions in windows anywhere"
SOURCE = "ECG.npy of github.com/DurstewitzLab/ALRNN-DSR, or a recording of physionet.org"


def prepare(*, data: str, updates: int, runs: int, steps: int, judged: bool) -> Recorded:
    """The recording at ``data``, embedded; a stand-in at scales that train without judging; nothing for the shipped models."""
    if not data and judged and updates:
        raise InputError(f"this scale trains on a recording: give one as --data, such as {SOURCE}")
    if not data and judged:
        return Recorded(np.zeros((0, DIMS)), 0, runs, steps, "")
    if not data:
        return Recorded(delay_embedded(stand_in(3000), dimension=DIMS, delay=2)[0], updates, runs, steps, ", stand-in")
    recorded = embedded(recording(data))
    if updates or is_of(kept_fit("heartbeat_almost_linear"), shown(recorded)):
        return Recorded(recorded, updates, runs, steps, "" if judged else ", too short to judge")
    return Recorded(recorded, 4000, 2, steps, ", too short to judge")


def embedded(values: np.ndarray) -> np.ndarray:
    """A recording (steps, channels) of several coordinates as it is; one channel at about ``BEAT`` steps a beat, delayed."""
    if values.shape[1] > 1:
        return values
    series = values[:, 0]
    peaks = _peaks(series)
    if len(peaks) < 10:
        raise InputError(f"{len(peaks)} beats stand out of the recording, and 10 are needed")
    thinned = resample_poly(series, 1, max(1, round(float(np.median(np.diff(peaks))) / BEAT)))
    return delay_embedded(thinned, dimension=DIMS, delay=memory(thinned))[0]


def stand_in(steps: int) -> np.ndarray:
    """(steps,) five Gaussian waves a beat (P, Q, R, S, T), the beat's length varying by 5 %."""
    draw = np.random.default_rng(0)
    lengths = BEAT * (1 + 0.05 * draw.normal(size=2 * steps // BEAT))
    ends = np.cumsum(lengths)
    beat = np.searchsorted(ends, np.arange(steps), side="right")
    phase = (np.arange(steps) - (ends - lengths)[beat]) / lengths[beat]
    waves = ((0.25, 0.12, 0.03), (0.37, -0.15, 0.012), (0.4, 1.0, 0.015), (0.43, -0.3, 0.012), (0.65, 0.3, 0.05))
    at, height, width = np.array(waves)[:, :, None].swapaxes(0, 1)
    return (height * np.exp(-((phase - at) ** 2) / (2 * width**2))).sum(axis=0)


def shown(recorded: np.ndarray) -> np.ndarray:
    """All but the end of a recording, which models are judged by."""
    return recorded[: int(len(recorded) * (1 - HELD_OUT))]


def fit(
    recorded: np.ndarray, *, runs: int, updates: int, surrogate: bool = False, watch: Watch = quiet
) -> AlmostLinearFit:
    """Models of what is shown of a recording, or of a phase-randomised copy; the shipped ones are 6 runs of 200 000 updates."""
    series = phase_randomised(shown(recorded)[None])[0] if surrogate else shown(recorded)
    recipe = TeacherForcing(steps=updates, every=10, length=50, learning_rates=(2e-3, 1e-5), noise=0.01)
    every = min(2500, updates)
    return fit_almost_linear(
        series, LATENT, RELU, runs=runs, recipe=recipe, standardise=True, select_every=every, orbit=len(series), watch=watch
    )  # fmt: skip


def examine(journal: Journal, specimen: Recorded) -> tuple[str, ...]:
    """The models' regions, exponents and codes, what the best does in the QRS complex, and the same of the copy's model."""
    note, recorded = specimen.note, specimen.recorded
    if specimen.updates:
        made = journal.note(f"{TRAINING}{note}", fit, recorded, runs=specimen.runs, updates=specimen.updates)
    else:
        made = journal.note(f"{TRAINING}{note}", kept_fit, "heartbeat_almost_linear")
    best = int(made.smallest.argmin())
    free = free_runs(made, best, orbits=ORBITS, steps=specimen.steps, burn_in=1000)
    if not len(free.states):
        return (f"The best of {len(made.relu)} models overflows when it runs freely; {made.summary()}.",)
    marks = _marks(said(made, free).states[..., 0])
    code = regions(free, network=made.model(best))
    beats = journal.note(f"{BEATS}{note}", code.read_at, marks)
    length = _beat(beats)
    beating = abs(length / _interval(recorded) - 1) < ALIKE
    note = note if beating else f"{note}, no heartbeat"
    found = account(journal, made, orbits=ORBITS, steps=specimen.steps, note=note)
    sentences = [
        f"The best has {beats.visits.sum()} R peaks, one in {length:.3g} steps, the recording one in {_interval(recorded):.3g}"
        f"{'' if beating else ': it has not learnt to beat, and its regions say nothing of a heart'}.",
        f"{made.saves[-1]} updates (the paper: 200 000). {made.summary()}.",
        *found.sentences,
    ]
    if found.tables and beats.visits.sum():
        sentences.append(_complexes(journal, code, marks, found.tables[0], note))
    if len(recorded) and found.tables:
        sentences.append(_judged(journal, made, best, recorded, note))
    if specimen.updates:
        copy = journal.note(f"{COPY}{note}", fit, recorded, runs=1, updates=specimen.updates, surrogate=True)
        other = account(journal, copy, orbits=ORBITS, steps=specimen.steps, note=note, name="copy")
        sentences += [f"A model of the phase-randomised copy. {sentence}" for sentence in other.sentences[:2]]
    return tuple(sentences)


def _complexes(journal: Journal, code: Regions, marks: np.ndarray, table: RegionTable, note: str) -> str:
    """Whether the most divergent region is entered in the QRS complex, beside as many windows anywhere."""
    steps = marks.shape[1]
    inside = [(run, at) for run, at in np.argwhere(marks) if BEFORE <= at < steps - AFTER]
    if not inside:
        return "No QRS complex is whole."
    draw = np.random.default_rng(0)
    elsewhere = [(run, draw.integers(BEFORE, steps - AFTER)) for run, _ in inside]
    within, apart = (
        journal.note(title, regions, np.stack([code.symbols[run, at - BEFORE : at + AFTER + 1] for run, at in windows]))
        for title, windows in ((f"{QRS}{note}", inside), (f"{ANYWHERE}{note}", elsewhere))
    )
    region = _most_divergent(table)
    return (
        f"Its most divergent region, {code.names[region]}, is entered in {100 * _entered(within, region):.3g} % of "
        f"{len(inside)} QRS complexes and in {100 * _entered(apart, region):.3g} % of as many windows anywhere."
    )


def _judged(journal: Journal, made: AlmostLinearFit, run: int, recorded: np.ndarray, note: str) -> str:
    """Distances from the end of the recording, which was held out, beside those of stretches of its beginning."""
    held = len(shown(recorded))
    steps = len(recorded) - held
    parts = held // steps
    true = in_units(made, recorded[None, held:])
    others = in_units(made, recorded[: parts * steps].reshape(parts, steps, -1))
    one = said(made, free_runs(made, run, orbits=1, steps=steps, burn_in=1000))
    far = journal.note(f"Dstsp{note}", state_space_divergence, true, one, form=Bins(per_axis=8), others=others)
    apart = journal.note(f"DH{note}", power_spectrum_distance, true, one, others=others)
    return f"Against the end of the recording, held out: {far.summary()}; {apart.summary()}."


def _marks(series: np.ndarray) -> np.ndarray:
    """(runs, steps) bool: the R peaks of each run."""
    marks = np.zeros(series.shape, dtype=bool)
    for run, own in enumerate(series):
        marks[run, _peaks(own)] = True
    return marks


def _beat(beats: Regions) -> float:
    """Steps of a beat; infinite without one."""
    return beats.duration / beats.visits.sum() if beats.visits.sum() else np.inf


def _interval(recorded: np.ndarray) -> float:
    """Steps of a beat in a recording, NaN without two; of the authors' when none is at hand."""
    if not len(recorded):
        return BEAT
    peaks = _peaks(recorded[:, 0])
    return (peaks[-1] - peaks[0]) / (len(peaks) - 1) if len(peaks) > 1 else np.nan


def _peaks(series: np.ndarray) -> np.ndarray:
    """R peaks: they stand out by half of the range."""
    return find_peaks(series, prominence=np.ptp(series) / 2)[0]


def _growth(table: RegionTable) -> np.ndarray:
    """(visited,) leading modulus of each region that is visited, most visited first."""
    return np.abs(table.eigenvalues[table.shares > 0, 0])


def _most_divergent(table: RegionTable) -> int:
    return int(_growth(table).argmax())


def _entered(windows: Regions, region: int) -> float:
    """Share of the windows in which a region is visited; its rank in the whole code is its label here."""
    return float((windows.run_occupancy[:, windows.labels == region] > 0).any(axis=1).mean())


def _weak_spirals(table: RegionTable) -> float:
    size = _growth(table)
    turning = np.isfinite(table.turns[: len(size)])
    return float(((size > 1) & (size < DIVERGENT) & turning).sum())


def _at_q(results: Mapping[str, Any]) -> float:
    return _entered(results[QRS], _most_divergent(results[TABLE]))


PAPER = "Brenner et al. 2024, section 4, our reading"
TABLE = "what the regions do, run 1"

study = CaseStudy(
    title="Almost-linear RNNs of a heartbeat: three regions, one of them the QRS complex?",
    citation="Brenner, Hemmer, Monfared, Durstewitz, Almost-Linear RNNs Yield Highly Interpretable Symbolic Codes in "
    "Dynamical Systems Reconstruction, NeurIPS 2024; example recording of its repository (ECG.npy)",
    question="Do about three regions carry the heartbeat, one strongly divergent and entered at the Q wave?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("best run: steps of a beat", BEAT, "the authors' recording, 147 peaks", 3.4, "5 %: single beats vary by 6 %",
              number_of(BEATS, _beat)),
        Claim("best run: regions that hold 99 % of the steps", 3, PAPER, 1, "about three; two rectified units give four",
              number_of("regions, run 1", lambda code: 1 + (code.coverage < 0.99 - 1e-12).sum())),
        Claim("best run: strongly divergent regions", 1, PAPER, 0, f"a count of leading moduli from {DIVERGENT}: errors double "
              "within 7 steps, a tenth of a beat", number_of(TABLE, lambda table: (_growth(table) >= DIVERGENT).sum())),
        Claim("best run: weakly unstable spirals", 2, PAPER, 0, f"a count of complex leading pairs of modulus 1 to {DIVERGENT}",
              number_of(TABLE, _weak_spirals)),
        Claim("best run: QRS complexes that enter the most divergent region", 1, f"{PAPER}: at the Q wave in every run", 0.05,
              "one beat in twenty may be missed as a peak", _at_q),
        Claim("best run: largest exponent above 0 by three standard errors (1: yes)", 1,
              "the paper sets the code's entropy beside a positive exponent", 0, "yes or no",
              number_of("exponents, run 1, per step", chaotic)),
    ),
    scales={
        "tiny": {"data": "", "updates": 100, "runs": 2, "steps": 1000, "judged": False},
        "quick": {"data": "", "updates": 0, "runs": 6, "steps": 5000, "judged": True},
        "full": {"data": "", "updates": 200_000, "runs": 10, "steps": 30_000, "judged": True},
    },
)  # fmt: skip
