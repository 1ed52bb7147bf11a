"""Ordinal plane: where maps, noises and hidden units of networks lie in the complexity-entropy plane, each beside its nulls.

Rosso, Larrondo, Martin, Plastino and Fuentes (Phys. Rev. Lett. 99, 154102, 2007) tell chaotic maps from noise by permutation
entropy H and complexity C at order 6 over 2^15 values. Their places here were computed elsewhere with ordpy and are measured
again; hidden units of a trained GRU under its task and of a random rate network are then read in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from analyses.result import Result
from analyses.series.ordinal import ordinal_patterns
from case_studies._study import CaseStudy
from case_studies._systems import SYSTEMS
from case_studies._tasks import flip_flop
from case_studies.flip_flop_memory import BITS, UNITS, shipped
from hooks.dynamics import rollout
from hooks.families import recurrent as recurrent_map
from interp.claims import Claim
from interp.journal import Journal

MAPS: Mapping[str, tuple[float, float]] = {
    "logistic": (0.630, 0.484),
    "Henon": (0.555, 0.459),
    "skew tent": (0.475, 0.399),
}
NOISES: Mapping[str, tuple[float, float]] = {
    "white noise": (0.998, 0.005), "pink noise": (0.972, 0.063), "brown noise": (0.859, 0.231), "noise f^-3": (0.458, 0.302),
}  # fmt: skip
INTERMITTENT: Mapping[str, tuple[float, float]] = {
    "Schuster 5/2": (0.047, 0.045), "Schuster 2": (0.243, 0.205), "Schuster 3/2": (0.574, 0.415),
}  # fmt: skip
GRU, RATE = "units of the flip-flop GRU", "units of a rate network"
SHOWN = 4  # units of each network


@dataclass(frozen=True, eq=False)
class Specimen:
    """Series (series, steps) of each name, and delays of the scale curve of networks."""

    series: Mapping[str, np.ndarray]
    order: int
    delays: tuple[int, ...]


def prepare(*, steps: int, order: int, delays: tuple[int, ...]) -> Specimen:
    """Orbits after 1000 steps, noises of seed 0 made in the spectrum, and recorded units; ``steps`` values each."""
    series = {
        name: rollout(SYSTEMS[name].make(), SYSTEMS[name].start(dim), steps=steps - 1, burn_in=1000).states[:, :, 0]
        for name, dim in (("logistic", 1), ("Henon", 2))
    }
    series["skew tent"] = _orbit(lambda x: x / 0.1847 if x < 0.1847 else (1 - x) / (1 - 0.1847), steps)
    for name, z in (("Schuster 5/2", 2.5), ("Schuster 2", 2.0), ("Schuster 3/2", 1.5)):
        series[name] = _orbit(lambda x, z=z: (x + x**z) % 1, steps)  # type: ignore[misc]
    rng = np.random.default_rng(0)
    f = np.fft.rfftfreq(steps)[1:]
    for name, exponent in zip(NOISES, (0, 1, 2, 3), strict=True):
        spectrum = (rng.standard_normal(len(f)) + 1j * rng.standard_normal(len(f))) * f ** (-exponent / 2)
        series[name] = np.fft.irfft(np.concatenate([[0], spectrum]), steps)[None]
    inputs, _ = flip_flop(bits=BITS, runs=1, steps=steps, generator=torch.Generator().manual_seed(99))
    gru = recurrent_map(shipped("GRU").rnn)
    series[GRU] = rollout(gru, np.zeros(UNITS), drives=inputs).states[0, 1:, :SHOWN].T
    rate = SYSTEMS["random rate network"].make()
    start = SYSTEMS["random rate network"].start(rate.dim)
    series[RATE] = rollout(rate, start, steps=steps - 1, burn_in=1000).states[0, :, :SHOWN].T
    return Specimen(series, order, delays)


def _orbit(step: Callable[[float], float], steps: int) -> np.ndarray:
    now, kept = 0.3, []
    for _ in range(steps + 1000):
        now = step(now)
        kept.append(now)
    return np.array(kept[1000:])[None]


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The place of every series; networks at several delays."""
    sentences = []
    for name, series in specimen.series.items():
        delays = specimen.delays if name in (GRU, RATE) else (1,)
        found = journal.note(name, ordinal_patterns, series, order=specimen.order, delays=delays)
        sentences.append(f"{name}. {found.summary()}.")
    sentences.append(
        "The intermittent maps of exponent 2 and above have no stationary density that can be normalised: their share of quiet "
        "stretches grows with the length of the orbit, so that H and C are of this orbit and not of the map."
    )
    sentences.append(
        "Not shown: that a series which beats linear noise is chaotic. A driven network may only pass on what drives it, and a "
        "flow sampled finely rises and falls in long runs whatever it is."
    )
    return tuple(sentences)


def _of(name: str, read: Callable[[Any], Any]) -> Callable[[Mapping[str, Result]], float]:
    """At order 6 and 2^15 values, where the references stand; a KeyError at a smaller scale."""

    def measure(results: Mapping[str, Result]) -> float:
        found: Any = results[name]
        if found.order != 6 or found.windows[0] < 2**15 - 5:
            raise KeyError(name)
        return float(read(found))

    return measure


COMPUTED = "computed with ordpy at order 6 over 2^15 values; the plane is of Rosso et al., PRL 99, 154102"
EXACT = "a deterministic map: 0.003 between stretches"
DRAWN = "another realisation: 0.05"
OURS = "our derivation"

study = CaseStudy(
    title="The complexity-entropy plane of maps, noises and hidden units",
    citation="Rosso, Larrondo, Martin, Plastino, Fuentes, Distinguishing noise from chaos, Phys. Rev. Lett. 99, 154102, 2007",
    question="Where do hidden units of networks lie between order and noise, and are they unlike linear noise?",
    prepare=prepare,
    examine=examine,
    claims=(
        *(Claim(f"{name}: {what}", expected, COMPUTED, 0.003 if name in MAPS else 0.05, EXACT if name in MAPS else DRAWN,
                _of(name, read))
          for name, place in {**MAPS, **NOISES, **INTERMITTENT}.items()
          for what, expected, read in (
              ("H", place[0], lambda found: found.entropies[0, 0]), ("C", place[1], lambda found: found.complexities[0, 0]))),
        Claim("logistic: absent patterns", 645, "counted on 4e5 samples; Amigo et al.", 0, "a count",
              _of("logistic", lambda found: found.absent[0, 0])),
        *(Claim(f"{name}: unlike linear noise", 1, OURS, 0, "1 for yes, at level 0.05",
                _of(name, lambda found: (found.linear_p[0] <= 0.05))) for name in MAPS),
        *(Claim(f"{name}: unlike linear noise", 0, OURS, 0, "1 for yes; by chance once in twenty",
                _of(name, lambda found: (found.linear_p[0] <= 0.05))) for name in NOISES),
        *(Claim(f"{name}: share unlike their shuffles", 1, OURS, 0, "a state remembers the one before",
                _of(name, lambda found: (found.shuffle_p <= 0.05).mean())) for name in (GRU, RATE)),
    ),
    scales={
        "tiny": {"steps": 2**10, "order": 4, "delays": (1, 4)},
        "quick": {"steps": 2**15, "order": 6, "delays": (1, 2, 5, 10, 20)},
        "full": {"steps": 2**15, "order": 6, "delays": (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100)},
    },
)  # fmt: skip
