"""DynaMix, zero-shot: do the released parameters go on as an unseen system does, and what does the gate's noise do for it?

A mixture of ten almost-linear RNNs, trained on simulated systems alone, is given 2000 points of a system and runs on by itself
(Hemmer and Durstewitz, NeurIPS 2025). The release draws noise in the gate in every step of inference; here the same
parameters also run without it.

The parameters (10 227 numbers, 51 KB) and the recordings are public but not ours to ship: set DYNAMIX_JULIA to a checkout of
github.com/DurstewitzLab/DynaMix-julia, which is read as data. Without it, "tiny" runs on a stand-in: a mixture whose only
expert is a shipped almost-linear RNN of Lorenz63.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.result import Result
from analyses.trajectories.power_spectrum_distance import power_spectrum_distance
from analyses.trajectories.state_space_divergence import state_space_divergence
from case_studies import almost_linear_lorenz
from case_studies._study import CaseStudy
from hooks.dynamics import rollout
from hooks.errors import InputError, LoadError
from hooks.families import dynamix
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.journal import Journal

PLACE = "DYNAMIX_JULIA"
MODEL = Path("models/dynamix-3d-alrnn-v1.0.bson")
SERIES = {name: Path(f"notebooks/test_data/{name}.npy") for name in ("lorenz63", "sprottM", "chua")}
CONTEXT, RELU = 2000, 2
STAND_IN = "stand-in"
DRAWS = 5  # of the noise, at full scale


@dataclass(frozen=True, eq=False)
class Specimen:
    weights: Mapping[str, np.ndarray]
    L: np.ndarray  # the state that goes with an observation x is [x; L x]
    parameters: int
    recordings: Mapping[str, np.ndarray]
    steps: int
    draws: int


def prepare(*, steps: int, draws: int, released: bool) -> Specimen:
    """The release's parameters and recordings, or the stand-in."""
    if not released:
        kept = almost_linear_lorenz.prepare(runs=1, steps=2 * steps, trained=False, judged=False)
        network = kept.networks[0]
        recording = kept.truth.states.reshape(-1, kept.truth.states.shape[2])
        return Specimen(*_alone(network, recording.shape[1]), 0, {STAND_IN: recording}, steps, draws)
    place = os.environ.get(PLACE, "")
    if not place or not (Path(place) / MODEL).is_file():
        raise InputError(
            f"this scale needs the released parameters: set {PLACE} to a checkout of "
            f"github.com/DurstewitzLab/DynaMix-julia, in which {MODEL} is found"
        )
    arrays = list(bson_arrays((Path(place) / MODEL).read_bytes()))
    recordings = {name: np.load(Path(place) / path).astype(np.float64) for name, path in SERIES.items()}
    return Specimen(*_released(arrays), recordings, steps, draws)


def _alone(network: Any, outputs: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A mixture of one expert: the gate says 1 whatever it sees."""
    dim = len(network.A)
    silent = {"kernel": np.zeros((2, outputs, outputs)), "bias": np.zeros(outputs), "tau": np.ones(2)}
    silent |= {"M1": np.zeros((1, outputs + dim)), "M2": np.zeros((1, 1)), "noise": np.zeros(outputs)}
    expert = {name: getattr(network, name).numpy()[None] for name in "AWh"}
    return {**expert, **silent, "D": np.eye(outputs, dim)}, np.zeros((dim - outputs, outputs))


def _released(arrays: list[np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray, int]:
    """Weights by name, L, and how many numbers are trained: all but the readout, which is the identity.

    Flux's convolution flips its kernel, (width, in, out): the first slice meets the later point.
    """
    experts = next(j for j, array in enumerate(arrays) if array.ndim > 1)
    A, W, h = (np.stack(arrays[part * experts : (part + 1) * experts]) for part in range(3))
    kernel, bias, first, D, M1, M2, second, noise, readout, offset, L = arrays[3 * experts :]
    weights = {
        "A": A, "W": W, "h": h, "D": D, "kernel": kernel[::-1].transpose(0, 2, 1).copy(), "bias": bias,
        "M1": M1, "M2": M2, "tau": np.concatenate([first, second]), "noise": noise,
    }  # fmt: skip
    return weights, L, sum(array.size for array in arrays) - readout.size - offset.size


def bson_arrays(written: bytes) -> Iterator[np.ndarray]:
    """The float32 arrays of a Julia model file in their order, column-major there; nothing in it is executed.

    Raises LoadError for a file that is cut short or holds other elements.
    """
    try:
        yield from _arrays(_document(written, 0)[0])
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise LoadError(f"this is no BSON file of float32 arrays: {type(error).__name__}: {error}") from None


FIXED = {1: "<d", 8: "<?", 16: "<i", 18: "<q"}  # BSON's elements of fixed size


def _document(written: bytes, at: int) -> tuple[dict[str, Any], int]:
    """The elements of the document that begins there, and where it ends (bsonspec.org, version 1.1)."""
    end = at + struct.unpack_from("<i", written, at)[0]
    if not at < end <= len(written):
        raise ValueError(f"a document is said to end at byte {end} of {len(written)}")
    at, found = at + 4, {}
    while written[at]:
        kind, stop = written[at], written.index(0, at + 1)
        name, at = written[at + 1 : stop].decode(), stop + 1
        value: Any = None
        if kind in (3, 4):
            value, at = _document(written, at)
        elif kind in (2, 5):
            (size,) = struct.unpack_from("<i", written, at)
            begin = at + 4 + (kind == 5)
            value, at = written[begin : begin + size], begin + size
        elif kind in FIXED:
            (value,) = struct.unpack_from(FIXED[kind], written, at)
            at += struct.calcsize(FIXED[kind])
        elif kind != 10:
            raise ValueError(f"element {name!r} is of kind {kind}")
        found[name] = value
    return found, end


def _arrays(document: Mapping[str, Any]) -> Iterator[np.ndarray]:
    if isinstance(document.get("data"), bytes) and document.get("tag") == b"array\0":
        shape = [int(size) for size in document["size"].values()]
        yield np.frombuffer(document["data"], "<f4").astype(np.float64).reshape(shape, order="F")
        return
    for value in document.values():
        if isinstance(value, dict):
            yield from _arrays(value)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """For each recording: the orbit without noise and with several draws of it, beside what was not shown, and exponents."""
    sentences = []
    for name, recording in specimen.recordings.items():
        given = recording[:CONTEXT]
        shift, scale = given.mean(axis=0), given.std(axis=0, ddof=1)
        shift, scale = (0.0, 1.0) if name == STAND_IN else (shift, scale)  # it comes in the expert's own units
        seen = (given - shift) / scale
        true = Trajectory(((recording[CONTEXT:] - shift) / scale)[None])
        start = np.concatenate([seen[-1], specimen.L @ seen[-1]])
        quiet = dynamix(specimen.weights, seen, relu=RELU)
        noisy = dynamix(specimen.weights, seen, relu=RELU, noisy=True)
        outputs = seen.shape[1]
        drives = np.random.default_rng(0).standard_normal((specimen.draws, specimen.steps, outputs))
        orbits = {"no noise": rollout(quiet, start, steps=specimen.steps)}
        drawn = rollout(noisy, start[None].repeat(specimen.draws, axis=0), drives=drives)
        orbits |= {f"noise, draw {k}": Trajectory(run[None]) for k, run in enumerate(drawn.states, 1)}
        distances = {}
        for kind, orbit in orbits.items():
            said = Trajectory(orbit.states[:, 1:, :outputs])
            divergence = journal.note(f"{name}: Dstsp, {kind}", state_space_divergence, true, said)
            spectrum = journal.note(f"{name}: DH, {kind}", power_spectrum_distance, true, said)
            distances[kind] = divergence.divergence, spectrum.distance, divergence.halves
        starts = orbits["no noise"].states[0, [specimen.steps // 2, -1]]
        own = journal.note(
            f"{name}: exponents without noise, per step", lyapunov_spectrum, quiet, starts, steps=specimen.steps // 4,
            directions=2,
        )  # fmt: skip
        without, halves = distances.pop("no noise")[0], next(iter(distances.values()))[2]
        with_noise = np.median([pair[0] for pair in distances.values()])
        sentences.append(
            f"{name}: Dstsp {with_noise:.3g} nats with the gate's noise (median of {specimen.draws}), {without:.3g} without; "
            f"the halves of the true recording lie {halves:.3g} apart. Without noise: {own.summary()}."
        )
    told = (
        f"The released model has {specimen.parameters} parameters."
        if specimen.parameters
        else "A stand-in was run, one almost-linear RNN of Lorenz63: nothing here is about the released model."
    )
    return (told, *sentences)


def _read(
    name: str, kind: str, read: Callable[[Any], float], draws: bool = True
) -> Callable[[Mapping[str, Result]], float]:
    """Median over the draws of the noise, or the orbit without; a KeyError where the recording was not run."""

    def measure(results: Mapping[str, Result]) -> float:
        chosen = f"{name}: {kind}, " + ("noise" if draws else "no noise")
        found = [read(result) for title, result in results.items() if title.startswith(chosen)]
        if not found:
            raise KeyError(chosen)
        return float(np.median(found))

    return measure


def _ratio(name: str) -> Callable[[Mapping[str, Result]], float]:
    def measure(results: Mapping[str, Result]) -> float:
        with_noise, without = (
            _read(name, "Dstsp", lambda found: found.divergence, draws)(results) for draws in (True, False)
        )
        return without / with_noise

    return measure


BEFORE = "these parameters under another implementation, one draw"
BINS = "its bins drop the lowest of every axis, and draws of the noise scatter"
SPECTRUM = "the scatter of draws, another smoothing at the ends"
DETAIL = "our null: the noise is a detail"

study = CaseStudy(
    title="DynaMix, zero-shot: does it go on as an unseen system does?",
    citation="Hemmer, Durstewitz, True zero-shot inference of dynamical systems preserving long-term statistics, NeurIPS 2025",
    question="How far are the statistics of systems that DynaMix never saw, and what does the noise in its gate do for them?",
    prepare=prepare,
    examine=examine,
    claims=(
        *(
            Claim(f"{name}: Dstsp, nats", value, BEFORE, 0.5, BINS, _read(name, "Dstsp", lambda found: found.divergence))
            for name, value in (("lorenz63", 0.96), ("sprottM", 3.23), ("chua", 2.84))
        ),
        *(
            Claim(f"{name}: DH", value, BEFORE, 0.05, SPECTRUM, _read(name, "DH", lambda found: found.distance))
            for name, value in (("lorenz63", 0.103), ("sprottM", 0.121), ("chua", 0.118))
        ),
        *(
            Claim(f"{name}: Dstsp without the noise over that with it", 1, DETAIL, 0.5, "within half of each other",
                  _ratio(name))
            for name in SERIES
        ),
    ),
    scales={
        "tiny": {"steps": 2000, "draws": 1, "released": False},
        "quick": {"steps": 10_000, "draws": 3, "released": True},
        "full": {"steps": 10_000, "draws": DRAWS, "released": True},
    },
)  # fmt: skip
