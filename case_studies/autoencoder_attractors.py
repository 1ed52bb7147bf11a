"""Attractors of an autoencoder's loop: does z -> encode(decode(z)) hold training data, and does it tell what is no data?

Fumero, Moschella, Rodola and Locatello (ICLR 2026) iterate the loop of an autoencoder: one attractor before training, more
during it; few code units memorise training points, many generalise; attractors found from noise are those found from data; and
the distance of a trajectory to the attractors tells data of another kind. Here the paper's optimiser and stopping rule on the
8 x 8 digits of scikit-learn, with dense networks 64-128-128-k: Adam 5e-4, weight decay 1e-4, 300 epochs of batches of 64.

Beside the paper's numbers stand what they must beat: the cosines of held-out digits with the training digits, the distance to
the nearest training codes and the reconstruction error, and a network trained on digits whose pixels were shuffled among them.

What is found at full scale, in 25 networks: from one attractor each to 12.2 in the mean, every one of them proved to exist
and to attract, 97 % of those from noise shared with data. The cosine falls with the code's width, 0.975 at 2 units to 0.934
at 32, as published; but held-out digits have 0.964 and their reconstructions 0.974 to 0.975 at the narrow codes, so no
network's attractors beat both (of five with 2 units four beat held-out digits alone), and memorisation is not shown.
Trajectories tell shuffled pixels (AUROC 0.37 to 0.54, a mean over seeds for each width) and digits on their side (0.46 to
0.65) worse than the nearest codes do (0.49 to 0.91, 0.85 to 0.99), and these worse than the reconstruction error (0.97 to 1).
The nearest attractor says where 14 to 65 % of held-out digits end, a map of known ends 61 to 95 %. Up to half of a network's
starts never rest: some that were looked at go round closed curves or a cycle of period 59. Networks trained on shuffled
pixels have attractors, too, fewer in four widths of five, so that this claim differs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from analyses.maps.attractor_account import attractor_account
from analyses.maps.basins import basins
from analyses.maps.certificates import certify
from analyses.maps.distribution_score import distribution_score
from analyses.maps.loop_attractors import loop_attractors
from analyses.maps.memorisation import memorisation
from analyses.result import Outcome, Result
from case_studies._study import CaseStudy
from hooks.families import EncodeDecode, encode_decode
from interp.claims import Claim
from interp.journal import Journal

PIXELS, HIDDEN, BATCH, RATE, DECAY = 64, 128, 64, 5e-4, 1e-4
CODES = (2, 4, 8, 16, 32)
EPOCHS, HALF = 300, 150
TRAINING = 1437  # of 1797 digits, the others held out
FOLLOWED = 32  # undecided starts that are iterated on, to tell cycles and curves from slow rests
CONTROL = "shuffled pixels"
Key = tuple[str, int, int, int]  # trained on, seed, units of the code, epoch


class Autoencoder(nn.Module):
    """64-128-128-k and back, rectified, linear at the code and at the end."""

    def __init__(self, units: int) -> None:
        super().__init__()

        def dense(*widths: int) -> nn.Sequential:
            *hidden, last = (nn.Linear(*pair) for pair in itertools.pairwise(widths))
            return nn.Sequential(*(part for layer in hidden for part in (layer, nn.ReLU())), last)

        self.encoder, self.decoder = dense(PIXELS, HIDDEN, HIDDEN, units), dense(units, HIDDEN, HIDDEN, PIXELS)


@dataclass(frozen=True, eq=False)
class Specimen:
    """Networks by what they were trained on, seed, units and epoch; training and held-out digits, and the shuffled ones."""

    networks: Mapping[Key, EncodeDecode]
    training: np.ndarray
    held_out: np.ndarray
    shuffled: np.ndarray
    epochs: int
    starts: int
    draws: int


def digits() -> tuple[np.ndarray, np.ndarray]:
    """(training, held out) digits in [0, 1], float64, in an order of seed 0."""
    from sklearn.datasets import load_digits

    pixels = load_digits().data / 16
    order = np.random.default_rng(0).permutation(len(pixels))
    return pixels[order[:TRAINING]], pixels[order[TRAINING:]]


def trained(
    wanted: Sequence[tuple[str, int, int]], data: Mapping[str, np.ndarray], epochs: int, kept: Sequence[int]
) -> Iterator[tuple[Key, Autoencoder]]:
    """Networks (trained on, seed, units) at the epochs that are kept, all trained at once on the same order of examples.

    Codes narrower than the widest are padded with units of zero weights, which get no gradient and stay zero.
    """
    networks = []
    for _, seed, units in wanted:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            networks.append(Autoencoder(units))
    layers = [
        (_stacked([part.weight.T for part in parts]), _stacked([part.bias[None] for part in parts]))
        for parts in zip(*(_linears(network) for network in networks), strict=True)
    ]
    own = torch.stack([torch.tensor(data[name], dtype=torch.float32) for name, *_ in wanted])
    optimiser = torch.optim.Adam([part for pair in layers for part in pair], lr=RATE, weight_decay=DECAY, foreach=True)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(epochs + 1):
        if epoch in kept:
            for number, (name, seed, units) in enumerate(wanted):
                twin = Autoencoder(units)
                with torch.no_grad():
                    for part, (W, b) in zip(_linears(twin), layers, strict=True):
                        part.weight.copy_(W[number].T[: part.out_features, : part.in_features])
                        part.bias.copy_(b[number, 0, : part.out_features])
                yield (name, seed, units, epoch), twin
        for rows in torch.randperm(own.shape[1], generator=generator).split(BATCH) if epoch < epochs else ():
            x = h = own[:, rows]
            for number, (W, b) in enumerate(layers):
                h = torch.baddbmm(b, h, W)
                h = h if number in (2, 5) else h.relu()
            optimiser.zero_grad()
            ((h - x) ** 2).mean(dim=(1, 2)).sum().backward()  # each network has its own mean, so they train apart
            optimiser.step()


def _linears(network: Autoencoder) -> list[nn.Linear]:
    return [part for part in network.modules() if isinstance(part, nn.Linear)]


def _stacked(matrices: Sequence[Tensor]) -> Tensor:
    """(networks, rows, columns) to be trained, padded with zeros to the largest."""
    rows, columns = (max(matrix.shape[axis] for matrix in matrices) for axis in (0, 1))
    padded = [nn.functional.pad(m.detach(), (0, columns - m.shape[1], 0, rows - m.shape[0])) for m in matrices]
    return torch.stack(padded).requires_grad_()


def prepare(
    *, codes: tuple[int, ...], seeds: int, control: tuple[int, ...], epochs: int, kept: tuple[int, ...], starts: int,
    draws: int,
) -> Specimen:  # fmt: skip
    """All networks, trained together, and the digits."""
    training, held_out = digits()
    shuffled = np.random.default_rng(1).permuted(training, axis=0)  # each pixel keeps its values, in another order
    wanted = [("digits", seed, units) for seed in range(seeds) for units in codes]
    wanted += [(CONTROL, 0, units) for units in control]
    found = trained(wanted, {"digits": training, CONTROL: shuffled}, epochs, kept)
    networks = {key: encode_decode(network) for key, network in found if key[0] == "digits" or key[3] == epochs}
    return Specimen(networks, training, held_out, shuffled, epochs, starts, draws)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Attractors of every network at every epoch kept; of the trained ones what the undecided starts do, proofs, memorisation,
    score and account."""
    sentences = []
    for key, network in specimen.networks.items():
        name, _, units, epoch = key
        data = specimen.training if name == "digits" else specimen.shuffled
        dynamics, codes = network.dynamics(), network.codes(data)
        noise = torch.randn(specimen.starts, units, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        found = journal.note(
            _title(key, "attractors"), loop_attractors, dynamics, codes[: specimen.starts], noise=noise
        )
        group, reached = _title(key, "")[:-2], found.reached(0)
        sentences.append(f"{group}. {found.summary()}.")
        undecided = np.flatnonzero([end is Outcome.OUT_OF_STEPS for end in found.outcomes])[:FOLLOWED]
        if epoch == specimen.epochs and len(undecided):
            begin = torch.cat([codes[: specimen.starts], noise])[undecided]
            longer = journal.note(_title(key, "undecided starts"), basins, dynamics, begin, burn_in=6000)
            sentences.append(f"{group}. Undecided starts, followed for longer: {longer.summary()}.")
        if epoch != specimen.epochs or not len(reached):
            continue
        points = found.points[reached]
        proofs = journal.note(_title(key, "proofs"), certify, dynamics, points)
        sentences.append(f"{group}. {proofs.summary()}.")
        if name != "digits":
            continue
        unseen = network.codes(specimen.held_out)
        beside = {
            "held-out digits": specimen.held_out,
            "their reconstructions": network.decoded(unseen).numpy(),
            "decodings of random codes": network.decoded(noise).numpy(),
        }
        kept = journal.note(
            _title(key, "memorisation"), memorisation, network.decoded(points).numpy(), data, beside=beside,
            image=(8, 8), draws=specimen.draws,
        )  # fmt: skip
        sentences.append(f"{group}. {kept.summary()}.")
        for other, strange in _strangers(specimen.held_out).items():
            theirs = network.codes(strange)
            errors = tuple(
                ((network.decoded(c).numpy() - x) ** 2).mean(axis=1)
                for c, x in ((unseen, specimen.held_out), (theirs, strange))
            )
            told = journal.note(
                _title(key, f"against {other}"), distribution_score, dynamics, points, unseen, theirs, training=codes,
                others={"reconstruction error": errors}, draws=specimen.draws,
            )  # fmt: skip
            sentences.append(f"{group}. Held-out digits against {other}: {told.summary()}.")
        number = np.full(len(found.points) + 1, -1)  # the last one for -1
        number[reached] = np.arange(len(reached))
        account = journal.note(
            _title(key, "account"), attractor_account, dynamics, points, unseen, known=codes[: specimen.starts],
            known_ends=number[found.labels[: specimen.starts]], draws=specimen.draws,
        )  # fmt: skip
        sentences.append(f"{group}. {account.summary()}.")
    return tuple(sentences)


def _strangers(held_out: np.ndarray) -> Mapping[str, np.ndarray]:
    """What is no digit: pixels shuffled among the digits, which keeps each pixel's values; and digits on their side."""
    return {
        "shuffled pixels": np.random.default_rng(2).permuted(held_out, axis=0),
        "digits on their side": np.rot90(held_out.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, PIXELS).copy(),
    }


def _title(key: Key, what: str) -> str:
    name, seed, units, epoch = key
    return f"{name}, seed {seed}, {units} code units, epoch {epoch}: {what}"


def _found(
    results: Mapping[str, Result], what: str, *, epoch: int, name: str = "digits", units: int = 0
) -> dict[tuple[int, int], Any]:
    """(seed, units) -> result of this kind at this epoch; a KeyError where there is none."""
    width = units or r"\d+"
    shape = re.compile(rf"{name}, seed (\d+), ({width}) code units, epoch {epoch}: {what}")
    matches = {title: shape.fullmatch(title) for title in results}
    found = {(int(m[1]), int(m[2])): results[title] for title, m in matches.items() if m}
    if not found:
        raise KeyError(what)
    return found


def _mean(what: str, read: Callable[[Any], float], **where: Any) -> Callable[[Mapping[str, Result]], float]:
    """Mean over all networks of this kind."""
    options = {"epoch": EPOCHS} | where
    return lambda results: float(np.mean([read(one) for one in _found(results, what, **options).values()]))


def _growth(results: Mapping[str, Result]) -> float:
    """Share of the networks with more attractors from data at the end than at first."""
    first, last = (_found(results, "attractors", epoch=epoch) for epoch in (0, EPOCHS))
    return float(np.mean([last[key].counts[0] > first[key].counts[0] for key in last]))


def _settling(results: Mapping[str, Result]) -> float:
    """Attractors from data at the end over those half-way, all networks together."""
    half, last = (_found(results, "attractors", epoch=epoch) for epoch in (HALF, EPOCHS))
    return sum(one.counts[0] for one in last.values()) / sum(one.counts[0] for one in half.values())


def _trend(results: Mapping[str, Result]) -> float:
    """Rank correlation of memorisation with the units of the code; a KeyError below three widths."""
    found = _found(results, "memorisation", epoch=EPOCHS)
    if len({units for _, units in found}) < 3:
        raise KeyError("memorisation")
    return float(spearmanr([units for _, units in found], [one.mean for one in found.values()]).statistic)


def _fewer(results: Mapping[str, Result]) -> float:
    """Share of the control networks with fewer attractors than the network of the same seed and width trained on digits."""
    control, last = (_found(results, "attractors", epoch=EPOCHS, name=name) for name in (CONTROL, "digits"))
    return float(np.mean([control[key].counts[0] < last[key].counts[0] for key in control]))


def _error(score: Any) -> float:
    """Mean reconstruction error of held-out digits."""
    return float(score.inside[score.names.index("reconstruction error")].mean())


def _beats(rival: str) -> Callable[[Any], float]:
    """Whether the trajectory's AUROC exceeds that of another score."""
    return lambda score: float(score.auroc[0] > score.auroc[score.names.index(rival)])


def _shared(found: Any) -> float:
    """Share of the attractors reached from noise that data reach too."""
    return len(np.intersect1d(found.reached(0), found.reached(1))) / max(1, len(found.reached(1)))


AGAIN = "this set-up run once before, one seed"
YES = "1 for yes"

study = CaseStudy(
    title="Attractors of an autoencoder's loop",
    citation="Fumero, Moschella, Rodola, Locatello, Navigating the latent space dynamics of neural models, ICLR 2026",
    question="What do the attractors of encode after decode hold, and what can be told from them that is not told without?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("attractors from data before training, mean over the networks", 1, "the paper's statement: one", 0, "a count",
              _mean("attractors", lambda found: found.counts[0], epoch=0)),
        Claim("attractors from noise before training, mean over the networks", 1, "the paper's statement: one", 0, "a count",
              _mean("attractors", lambda found: found.counts[1], epoch=0)),
        Claim("share of the networks with more attractors after training", 1, "the paper's statement: their number grows", 0,
              "each", _growth),
        Claim("attractors after training over those half-way", 1, "the paper's statement: their number stabilises", 0.25,
              "growth from 1 to some 11 in the first half, at most a quarter in the second", _settling),
        Claim("attractors from data after training, mean over widths", 11.6, f"{AGAIN}: 8, 11, 14, 15, 10", 4,
              "the scatter of that run over the widths", _mean("attractors", lambda found: found.counts[0])),
        Claim("share of the starts that converge, mean over widths", 0.91, f"{AGAIN}: 1, 0.59, 0.97, 1, 0.99", 0.1,
              "one width in five may lose half of its starts", _mean("attractors", lambda found: found.shares[0])),
        Claim("median spectral radius at the attractors, mean over widths", 0.938, f"{AGAIN}: 0.86, 0.96, 0.95, 0.98, 0.94",
              0.04, "the scatter of that run", _mean("attractors", lambda f: np.median(f.spectral_radii[f.stable]))),
        Claim("share of the attractors proved to exist and to attract", 1, "a nondegenerate root can be proved", 0.05,
              "but on a kink of the rectifiers", _mean("proofs", lambda proofs: (proofs.unstable == 0).mean())),
        Claim("error of held-out digits, 2 code units", 0.034, AGAIN, 0.004, "seeds scatter by about a tenth",
              _mean("against shuffled pixels", _error, units=2)),
        Claim("error of held-out digits, 32 code units", 0.011, AGAIN, 0.002, "seeds scatter by about a tenth",
              _mean("against shuffled pixels", _error, units=32)),
        Claim("mean largest cosine with a training digit, 2 code units", 0.974, AGAIN, 0.03, "the mean of some ten attractors",
              _mean("memorisation", lambda kept: kept.mean, units=2)),
        Claim("mean largest cosine with a training digit, 32 code units", 0.926, AGAIN, 0.03, "the mean of some ten attractors",
              _mean("memorisation", lambda kept: kept.mean, units=32)),
        Claim("rank correlation of that cosine with the code's width", -1, "the paper's statement: few units memorise", 0.5,
              "a trend; seeds scatter", _trend),
        Claim("2 code units: share of the networks whose attractors are nearer to training digits than all held beside them", 1,
              "the paper's reading of the cosine: few units memorise", 0, "each",
              _mean("memorisation", lambda kept: kept.shown, units=2)),
        Claim("share of the attractors from noise that data reach too", 1, "the paper's statement: both sets become one", 0.25,
              "some basins are small", _mean("attractors", _shared)),
        Claim("shuffled pixels: share of the networks whose trajectories tell them better than nearest training codes do", 1,
              "the paper's tables: AUROC 91 to 93 against 33 to 89", 0.2, "each, but for one in five",
              _mean("against shuffled pixels", _beats("neighbours"))),
        Claim("digits on their side: the same share", 1, "the paper's tables: AUROC 91 to 93 against 33 to 89", 0.2,
              "each, but for one in five", _mean("against digits on their side", _beats("neighbours"))),
        Claim("trained on shuffled pixels: share of the networks with fewer attractors", 1, "no clusters to hold", 0, "each",
              _fewer),
    ),
    scales={
        "tiny": {"codes": (2, 4), "seeds": 1, "control": (), "epochs": 1, "kept": (0, 1), "starts": 60, "draws": 19},
        "quick": {"codes": CODES, "seeds": 1, "control": (8,), "epochs": EPOCHS, "kept": (0, 30, HALF, EPOCHS),
                  "starts": 500, "draws": 999},
        "full": {"codes": CODES, "seeds": 5, "control": CODES, "epochs": EPOCHS, "kept": (0, 30, HALF, EPOCHS),
                 "starts": 500, "draws": 999},
    },
)  # fmt: skip
