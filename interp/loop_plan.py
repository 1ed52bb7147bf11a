"""The plan of an autoencoder, and its report: where its loop of encode and decode ends, and what of its training that tells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from analyses.maps.attractor_account import LINEAR, NEAREST, AttractorAccount, attractor_account
from analyses.maps.basins import Basins, basins
from analyses.maps.certificates import Certificates, certify
from analyses.maps.distribution_score import DistributionScore, distribution_score
from analyses.maps.jacobian_spectra import JacobianSpectra, jacobian_spectra
from analyses.maps.loop_attractors import LoopAttractors, loop_attractors
from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.maps.memorisation import Memorisation, memorisation
from analyses.result import Outcome, Result, counted
from analyses.trajectories.stream_geometry import StreamGeometry, stream_geometry
from hooks.contract import check_dynamics
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import EncodeDecode, encode_decode
from interp.findings import exponent_sentence
from interp.journal import Journal
from interp.network import Network
from interp.page import Report, writable

R = TypeVar("R", bound=Result)
HELD_OUT = 0.2  # share of the data that a report keeps from the searches
ENOUGH = 0.9  # share of held-out starts, the lower end of its interval, from which attractors are called an account
FEWEST = 20  # inputs of a report
STARTS, NOISE = 1024, 512  # codes of data and of noise that are searched from
DRAWN, SLOPES = 64, 256  # of these drawn as runs or followed when undecided, and with a slope taken
WIDEST_PROOF, WIDEST_SPECTRUM = 512, 64
ASSUMED = (
    "The loop is encode after decode; what else the module holds takes no part. "
    "The inputs are taken for training data, and the last fifth of them, in random order, is held out from all searches; "
    "if the network was trained on that fifth too, it is no null of memorisation."
)
UNWRITTEN = (
    "The loop is the module's code, so no weights are written beside the page, and interp verify proves nothing again."
)


def autoencoder(
    journal: Journal,
    network: EncodeDecode,
    training: Any,
    held_out: Any,
    *,
    starts: int = STARTS,
    noise: int = NOISE,
    steps: int = 3000,
    draws: int = 999,
    seed: int = 0,
    device: str = "cpu",
    about: str = "",
) -> None:
    """Where the loop of encode and decode ends, from data and from noise; whether its attractors hold training data, tell what
    is no data, and account for the loop.

    Parameters
    ----------
    training : (inputs, ...)
        Data that it was trained on.
    held_out : (others, ...)
        Data of the same kind that it was not.
    starts, noise
        Most codes of data to start from, evenly spaced; standard normal codes beside them.
    steps, draws, seed, device
        Of the loop; of each null; of all draws; of the loop's steps.
    about
        Put before each title, when a page holds several networks.
    """
    dynamics, rng = network.dynamics(device=device), np.random.default_rng(seed)
    seen, unseen = (np.asarray(data, dtype=np.float64).reshape(len(data), -1) for data in (training, held_out))
    codes, others = network.codes(training), network.codes(held_out)
    rows = np.unique(np.linspace(0, len(codes) - 1, min(len(codes), starts)).astype(int))
    first = codes[rows]
    check_dynamics(dynamics, first[:8])
    drawn = torch.randn(noise, dynamics.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    journal.note(f"{about}portrait", stream_geometry, rollout(dynamics, first[:DRAWN], steps=50))
    found = journal.note(f"{about}attractors", loop_attractors, dynamics, first, noise=drawn, steps=steps)
    if dynamics.dim <= WIDEST_PROOF:
        journal.note(f"{about}slopes at the codes", jacobian_spectra, dynamics, first[:SLOPES])
        if len(found.points):
            journal.note(f"{about}proofs of the rests", certify, dynamics, found.points)
    undecided = np.flatnonzero([end is Outcome.OUT_OF_STEPS for end in found.outcomes])[:DRAWN]
    if len(undecided):
        journal.note(
            f"{about}undecided starts", basins, dynamics, torch.cat([first, drawn])[undecided], burn_in=2 * steps
        )
    directions = min(dynamics.dim, 16 if dynamics.dim > WIDEST_SPECTRUM else dynamics.dim)
    journal.note(
        f"{about}exponents", lyapunov_spectrum, dynamics, first[:16], steps=300, burn_in=300, directions=directions
    )
    reached = found.reached(0)
    if not len(reached):
        return
    points = found.points[reached]
    beside = {
        "held-out points": unseen,
        "their reconstructions": network.decoded(others).numpy(),
        "decodings of random codes": network.decoded(drawn).numpy(),
    }
    journal.note(
        f"{about}memorisation",
        memorisation,
        network.decoded(points).numpy(),
        seen,
        beside=beside,
        image=_image(np.shape(training)[1:]),
        draws=draws,
    )
    shuffled = rng.permuted(unseen, axis=0)
    strange = network.codes(shuffled.reshape(np.shape(held_out)))
    errors = tuple(
        ((network.decoded(c).numpy() - x) ** 2).mean(axis=1) for c, x in ((others, unseen), (strange, shuffled))
    )
    journal.note(
        f"{about}data against a shuffled copy",
        distribution_score,
        dynamics,
        points,
        others,
        strange,
        training=codes,
        others={"reconstruction error": errors},
        draws=draws,
    )
    number = np.full(len(found.points) + 1, -1)  # the last one for -1
    number[reached] = np.arange(len(reached))
    journal.note(
        f"{about}account by attractors",
        attractor_account,
        dynamics,
        points,
        others,
        known=first,
        known_ends=number[found.labels[: len(first)]],
        steps=steps,
        draws=draws,
    )


def loop_report(
    network: Network,
    inputs: Any,
    *,
    out: Path | str | None = None,
    seed: int = 0,
    device: str = "cpu",
    budget: float | None = None,
) -> Report:
    """From an autoencoder and data to a written account of its loop.

    Parameters
    ----------
    network
        That holds one: ``load(source)``.
    inputs : (inputs, ...)
        Data as its encoder takes them, 20 at least; the module says the shape of one.
    out, seed, device, budget
        As in ``report``.

    Raises
    ------
    InputError
        For data that it does not take, or too few.
    """
    data = _data(inputs, type(network.module).__name__)
    pair = encode_decode(network.module, data)
    name = Path(network.source).stem or pair.name
    folder = writable(Path("interp-report") / name if out is None else Path(out))
    order = np.random.default_rng(seed).permutation(len(data))
    last = max(1, int(HELD_OUT * len(data)))
    dynamics = pair.dynamics(device=device)
    journal = Journal(fingerprint=dynamics.fingerprint, budget=budget)
    autoencoder(journal, pair, data[order[:-last]], data[order[-last:]], seed=seed, device=device)
    provenance = {
        "source": network.source,
        "inputs": f"{len(data)} of shape {data.shape[1:]}, {last} of them held out",
        "seed": str(seed),
        "device": device,
        "fingerprint": dynamics.fingerprint,
        "notes": " ".join((*network.notes, ASSUMED, *(() if dynamics.weights else (UNWRITTEN,)))),
    }
    subject, sentences = f"{name}: {dynamics.name}", loop_account(journal.results)
    return Report(subject, journal.findings, (), sentences, provenance, maps=journal.maps).written(folder)


def loop_account(results: Mapping[str, Result]) -> tuple[str, ...]:
    """What was found of a loop, what was not shown, and what cannot be told."""
    found, slopes = _first(results, LoopAttractors), _first(results, JacobianSpectra)
    kept, told = _first(results, Memorisation), _first(results, DistributionScore)
    account, spectrum = _first(results, AttractorAccount), _first(results, LyapunovSpectrum)
    proofs, portrait = _first(results, Certificates), _first(results, StreamGeometry)
    sentences = []
    if found is not None:
        sentences.append(ending_sentence(found))
        sentences.append(f"Ends: {found.summary()}.")
    if proofs is not None:
        sentences.append(f"Proofs: {proofs.summary()}.")
    if kept is not None:
        head = (
            "Its attractors hold training data" if kept.shown else "Not shown: that its attractors hold training data"
        )
        sentences.append(f"{head}; {kept.summary()}.")
    if told is not None:
        head = "The loop tells data from a shuffled copy better than simpler scores"
        sentences.append(
            f"{head if told.shown else f'Not shown: that {head[:1].lower()}{head[1:]}'}; {told.summary()}."
        )
    if account is not None:
        low = account.intervals[[account.names.index(name) for name in (NEAREST, LINEAR)], 0]
        head = "Its attractors say where held-out starts end"
        head = head if low.max() >= ENOUGH else f"Not shown: that {head[:1].lower()}{head[1:]}"
        sentences.append(f"{head}; {account.summary()}.")
    if slopes is not None:
        contracting = int((slopes.singular_values[:, 0] < 1).sum())
        sentences.append(
            f"One step brings all neighbours of {contracting} of {counted(len(slopes.radii), 'code')} closer (largest singular "
            f"value below 1)."
        )
    if spectrum is not None:
        sentences.append(exponent_sentence(spectrum))
    if portrait is not None:
        sentences.append(f"Portrait: {portrait.summary()}.")
    if found is not None:
        still = len(found.outcomes) - found.outcomes.count(Outcome.CONVERGED) - found.outcomes.count(Outcome.DIVERGED)
        longer = _first(results, Basins)
        if longer is not None:
            sentences.append(f"Undecided starts, followed for longer: {longer.summary()}.")
        elif still:
            sentences.append(f"Not shown: where {still} of {len(found.outcomes)} starts end; they are undecided.")
    return tuple(sentences)


def ending_sentence(found: LoopAttractors) -> str:
    """In one sentence: one end for everything, several, or none."""
    data, noise = found.counts
    converged, diverged, undecided = found.shares
    shares = f"of all starts {converged:.3f} converge, {diverged:.3f} diverge and {undecided:.3f} are undecided"
    if not data and not noise:
        return f"No attractor was found: {shares}."
    if max(data, noise) == 1 and len(found.reached(0)) == len(found.reached(1)) == 1 and found.stable.sum() == 1:
        return f"Everything that converges ends in one place, so the loop keeps nothing of its input: {shares}."
    return (
        f"The loop keeps which of {counted(int(found.stable.sum()), 'attractor')} it came to, {data} reached from data and "
        f"{noise} from noise: {shares}."
    )


def _image(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(height, width) of inputs that are images of one channel; empty for others."""
    image = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    return tuple(image) if len(image) == 2 else ()


def _data(inputs: Any, kind: str) -> np.ndarray:
    """Inputs as float64, or a refusal that says what came."""
    if inputs is None:
        raise InputError(
            f"{kind} is an autoencoder, whose loop starts from data: give some, (inputs, ...) floats (inputs)"
        )
    data = np.asarray(inputs)
    if data.dtype.kind != "f" or data.ndim < 2:
        raise InputError(f"data are (inputs, ...) floating-point numbers, but {data.dtype} of shape {data.shape} came")
    if len(data) < FEWEST:
        raise InputError(f"{len(data)} inputs came; a report of an autoencoder takes {FEWEST} at least")
    if not np.isfinite(data).all():
        raise InputError(f"{int((~np.isfinite(data)).sum())} input values are not finite")
    return data.astype(np.float64)


def _first(results: Mapping[str, Result], kind: type[R]) -> R | None:
    return next((result for result in results.values() if isinstance(result, kind)), None)
