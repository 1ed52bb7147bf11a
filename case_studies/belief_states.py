"""Belief states: does a transformer that predicts tokens keep Bayes' belief over the hidden states in its residual stream?

Shai et al. (2024) train small transformers on hidden Markov processes whose beliefs are known exactly, and read the beliefs
off the stream by a linear map: of Mess3 they fill a fractal in a triangle. Here GPT-2s of four blocks and 64 units are trained
on Mess3 and RRXOR, and the paper's reading is held against what it does not show: networks of random weights, read by the same
map; runs that share no history between fitting and scoring; next-token probabilities alone. For Mess3 that last control says
nothing, since its next-token probabilities are an invertible linear image of the belief; RRXOR has 36 beliefs and 13 next-token
distributions, so there it does.

The fractal is measured where it is: Renyi dimensions of the cloud of all histories by boxes, of the exact and of the read
cloud at the same scales. The exact information dimension is the entropy rate over the rate at which Bayes' rule contracts
(Jurgens and Crutchfield, Chaos 31, 083114, 2021). At last the update itself is read: one linear map a token, the process's own
matrices.

Of Mess3, R2 is 0.998, where random weights reach 0.945 and the last three tokens 0.96: a bar of 0.95 tells little. The number
of boxes scales as the exact cloud's, but so it does, nearly, for random weights; by weight (D_1, D_2) the read cloud is too
thick, since readings are off by 0.035 and the smallest boxes are 0.05 wide. Of RRXOR, whose 436 words of ten tokens are all
there is to fit, beliefs are read with 0.90 where the map is fitted and 0.65 on words with other beginnings: more than
next-token probabilities allow and than random weights have, less than 0.95, from networks trained for minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.result import Result
from analyses.symbols.prediction_excess import prediction_excess
from analyses.trajectories._depth import TWIN
from analyses.trajectories.box_dimensions import BoxDimensions, box_dimensions
from analyses.trajectories.linear_readout import LinearReadout, linear_readout
from analyses.trajectories.token_operators import token_operators
from case_studies._processes import HiddenProcess, mess3, rrxor
from case_studies._study import CaseStudy, number_of
from case_studies._train import shipped_weights, train
from hooks.capture import capture
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.journal import Journal
from interp.progress import meter

Name = Literal["Mess3", "RRXOR"]
PROCESSES: Mapping[Name, HiddenProcess] = {"Mess3": mess3(), "RRXOR": rrxor()}
LAYERS, UNITS, HEADS, CONTEXT = 4, 64, 4, 10
BATCH, RATE = 256, 1e-3
UPDATES: Mapping[Name, int] = {"Mess3": 4000, "RRXOR": 5000}  # some seven and nine minutes on one core
SITES = (
    "transformer.drop",
    *(f"transformer.h.{layer}" for layer in range(LAYERS)),
)  # the stream before and after each block
LAST = f"beliefs at {SITES[-1]}"
SHARED = 3  # tokens: runs that share them are in one fold, and shorter histories are left out
RIDGE = 1e-6  # of unit variance: what moves by a thousandth is the rounding of half-precision weights
SCALES = np.geomspace(0.05, 0.5, 8)  # of the boxes; the triangle's side is 1.41
ENOUGH = 5000  # histories below which nothing is held against the paper


class NextToken(nn.Module):
    """Log-probabilities of the next token: tokens (runs, steps) -> (runs, steps, tokens)."""

    def __init__(self, tokens: int) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        super().__init__()
        settings: dict[str, Any] = {
            "vocab_size": tokens, "n_positions": CONTEXT, "n_embd": UNITS, "n_layer": LAYERS, "n_head": HEADS,
            "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "use_cache": False, "tie_word_embeddings": False,
            "bos_token_id": None, "eos_token_id": None, "attn_implementation": "eager",
        }  # fmt: skip
        self.model = GPT2LMHeadModel(GPT2Config(**settings))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(tokens).logits.log_softmax(-1)


def trained(name: Name) -> NextToken:
    """The network of this process from seed 0, each batch drawn afresh."""
    process = PROCESSES[name]

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        tokens = process.sample(runs=BATCH, steps=CONTEXT + 1, generator=generator)
        return tokens[:, :-1], tokens[:, 1:]

    def loss(scores: Tensor, tokens: Tensor) -> Tensor:
        return nn.functional.nll_loss(scores.flatten(0, 1), tokens.flatten())

    module, _ = train(lambda: NextToken(len(process.transitions)), draw, seed=0, updates=UPDATES[name], learning_rate=RATE,
                      loss=loss, watch=meter(f"training on {name}"))  # fmt: skip
    assert isinstance(module, NextToken)
    return module


def shipped(name: Name) -> NextToken:
    """The network from the weights beside this file, which ``trained(name)`` made, in half precision."""
    module = untrained(name, 0)
    weights = {key: weight.float() for key, weight in shipped_weights(f"belief_states_{name.lower()}").items()}
    module.load_state_dict(weights)
    return module


def untrained(name: Name, seed: int) -> NextToken:
    """A network of random weights, as its library draws them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NextToken(len(PROCESSES[name].transitions)).eval().requires_grad_(False)


def heard(
    module: NextToken, tokens: np.ndarray, sites: Sequence[str], batch: int = 4096
) -> tuple[np.ndarray, np.ndarray]:
    """What the network makes of these words: log-probabilities (runs, steps, tokens), and the stream at the sites side by side,
    (runs, steps, sites * units)."""
    spoken, streams = [], []
    for words in torch.from_numpy(tokens).split(batch):
        with capture(module.model, list(sites)) as tape, torch.no_grad():
            spoken.append(module(words).numpy())
        streams.append(torch.cat([tape[site] for site in sites], dim=2).numpy())
    return np.concatenate(spoken), np.concatenate(streams)


@dataclass(frozen=True, eq=False)
class Specimen:
    """Networks by process, sampled words (runs, CONTEXT), and how much is asked."""

    networks: Mapping[Name, NextToken]
    words: Mapping[Name, np.ndarray]
    twins: int
    shuffles: int
    longest: int
    steps: int


def prepare(*, anew: bool, runs: int, twins: int, shuffles: int, longest: int, steps: int) -> Specimen:
    """The networks, ``trained`` anew or as shipped, and ``runs`` words of each process to read beliefs on.

    ``twins`` networks of random weights stand beside each, the cloud is of all histories of ``longest`` tokens, and exponents
    are taken over ``steps`` tokens.
    """
    names: tuple[Name, ...] = ("Mess3", "RRXOR")
    words = {
        name: PROCESSES[name].sample(runs=runs, steps=CONTEXT, generator=torch.Generator().manual_seed(9)).numpy()
        for name in names
    }
    return Specimen(
        {name: trained(name) if anew else shipped(name) for name in names}, words, twins, shuffles, longest, steps
    )


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Loss, beliefs by site, the same of random networks, and the maps of the tokens for each process; then Mess3's cloud."""
    sentences = []
    for name in specimen.networks:
        sentences += _beliefs(journal, name, specimen)
    sentences += _clouds(journal, specimen)
    return (*(_account(journal, name) for name in specimen.networks), *sentences)


def _account(journal: Journal, name: Name) -> str:
    found: Any = journal.results[f"{name}: {LAST}"]
    random = next((null.draws.max() for null in found.nulls if null.name == TWIN), np.nan)
    return (
        f"{name}: a linear map reads Bayes' belief off the last block with R2 {found.r2:.3f}, off networks of random weights "
        f"with {random:.3f} at most, and off exact next-token probabilities with {found.control_r2[1]:.3f}."
    )


def _beliefs(journal: Journal, name: Name, specimen: Specimen) -> list[str]:
    process, module, tokens = PROCESSES[name], specimen.networks[name], specimen.words[name]
    beliefs = process.beliefs(tokens)
    spoken, stream = heard(module, tokens, SITES)
    truth = process.next_tokens(beliefs)
    sentences = [f"{name}: loss. {journal.note(f'{name}: loss', prediction_excess, spoken, truth).summary()}."]

    known = slice(SHARED - 1, None)
    groups = tokens[:, :SHARED] @ len(process.transitions) ** np.arange(SHARED)
    options: dict[str, Any] = {"groups": groups, "folds": 4, "ridge": RIDGE}
    others = [
        Trajectory(heard(untrained(name, seed), tokens, SITES)[1][:, known], "token")
        for seed in range(1, specimen.twins + 1)
    ]
    one_hot = np.eye(len(process.transitions))[tokens]
    controls = {
        "its next-token probabilities": np.exp(spoken)[:, known],
        "the exact next-token probabilities": truth[:, known],
        "its last three tokens, one by one": np.concatenate(
            [one_hot[:, lag : lag - SHARED + 1 or None] for lag in range(3)], 2
        ),
    }
    widths = range(0, UNITS * (len(SITES) + 1), UNITS)
    for site, first, last in zip(SITES, widths, widths[1:], strict=False):
        path = Trajectory(stream[:, known, first:last], "token")
        final = site == SITES[-1]
        twins = [Trajectory(other.states[:, :, first:last], "token") for other in others] if final else []
        found = journal.note(
            f"{name}: beliefs at {site}", linear_readout, path, beliefs[:, known], **options, twins=twins,
            controls=controls if final else {}, shuffles=specimen.shuffles if final else 0,
        )  # fmt: skip
        sentences.append(f"{name}: beliefs at {site}. {found.summary()}.")
    whole = journal.note(
        f"{name}: beliefs at all sites", linear_readout, Trajectory(stream[:, known], "token"), beliefs[:, known], **options,
        twins=others, shuffles=specimen.shuffles,
    )  # fmt: skip
    likely = np.take_along_axis(np.exp(spoken)[:, known][:, :-1], tokens[:, SHARED:, None], axis=2)[:, :, 0]
    read = Trajectory(whole.predicted, "token")
    maps = journal.note(
        f"{name}: maps of the tokens", token_operators, read, tokens[:, SHARED:], likely, shuffles=specimen.shuffles
    )
    apart = np.abs(maps.operators - process.transitions).max()
    return [
        *sentences,
        f"{name}: beliefs at all sites. {whole.summary()}.",
        f"{name}: maps of the tokens. {maps.summary()}; entries are off the process's own by up to {apart:.2g}.",
    ]


def _clouds(journal: Journal, specimen: Specimen) -> list[str]:
    """Mess3's cloud of all histories: exact, as read, and as read from random weights; and what its dimension must be."""
    process, name = PROCESSES["Mess3"], "Mess3"
    words, share = process.histories(specimen.longest)
    tokens = specimen.words["Mess3"]
    exact = process.beliefs(words)[:, -1:]
    clouds = {"exact": exact}
    for kind, module in (("read", specimen.networks["Mess3"]), ("read from random weights", untrained("Mess3", 1))):
        path = Trajectory(heard(module, tokens, SITES[-1:])[1][:, SHARED - 1 :], "token")
        found = linear_readout(path, process.beliefs(tokens)[:, SHARED - 1 :], ridge=RIDGE, shuffles=0)
        clouds[kind] = heard(module, words, SITES[-1:])[1][:, -1:] @ found.coefficients + found.offset
    sentences = []
    for kind, cloud in clouds.items():
        dimensions = journal.note(
            f"{name}: cloud, {kind}", box_dimensions, Trajectory(cloud, "token"), scales=SCALES, weights=share
        )
        missed = np.sqrt(share @ ((cloud - exact)[:, 0] ** 2).sum(1))
        away = "" if kind == "exact" else f"; off the exact one by {missed:.3f} (root mean square)"
        sentences.append(f"{name}: cloud, {kind}. {dimensions.summary()}{away}.")
    heard_on = process.sample(runs=16, steps=specimen.steps, generator=torch.Generator().manual_seed(3))
    spectrum = journal.note(
        f"{name}: exponents of Bayes' rule", lyapunov_spectrum, process.bayes_rule(), np.full((16, 3), 1 / 3),
        steps=specimen.steps, directions=2, drives=heard_on[:, :, None].numpy().astype(np.float64),
    )  # fmt: skip
    return [
        *sentences,
        f"{name}: Bayes' rule contracts at {_contraction(spectrum):.3f} nats a token; D_1 of small boxes is "
        f"{_predicted(spectrum):.3f}.",
    ]


def _contraction(spectrum: LyapunovSpectrum) -> float:
    """Of the weakest direction, mean over the runs."""
    return -float(spectrum.exponents[..., 0].mean())


def _predicted(spectrum: LyapunovSpectrum) -> float:
    """Entropy rate over contraction: the information dimension where the images of the triangle do not overlap."""
    return float(PROCESSES["Mess3"].conditional_entropies(CONTEXT)[-1]) / _contraction(spectrum)


def _if_enough(title: str, read: Callable[[LinearReadout], float]) -> Callable[[Mapping[str, Result]], float]:
    def measure(results: Mapping[str, Result]) -> float:
        found: Any = results[title]
        if found.states < ENOUGH:
            raise KeyError(f"{found.states} states")
        return float(read(found))

    return measure


def _above(null: str) -> Callable[[LinearReadout], float]:
    """Whether the reading is above every draw of the null, and beats it."""

    def read(found: LinearReadout) -> float:
        of = next((one for one in found.nulls if one.name == null), None)
        if of is None:
            raise KeyError(null)
        return of.beaten and found.r2 > of.draws.max()

    return read


def _apart(q: float) -> Callable[[Mapping[str, Result]], float]:
    def measure(results: Mapping[str, Result]) -> float:
        read, exact = (_dimension(results[f"Mess3: cloud, {kind}"], q) for kind in ("read", "exact"))
        return read - exact

    return measure


def _dimension(found: Result, q: float) -> float:
    assert isinstance(found, BoxDimensions)
    return float(found.dimensions[found.orders == q][0])


def _beyond_theory(results: Mapping[str, Result]) -> float:
    spectrum: Any = results["Mess3: exponents of Bayes' rule"]
    return _dimension(results["Mess3: cloud, exact"], 1.0) - _predicted(spectrum)


def _entries_off(name: Name) -> Callable[[Mapping[str, Result]], float]:
    def measure(results: Mapping[str, Result]) -> float:
        found: Any = results[f"{name}: maps of the tokens"]
        if found.counts.sum() < ENOUGH:
            raise KeyError(f"{found.counts.sum()} transitions")
        return float(np.abs(found.operators - PROCESSES[name].transitions).max())

    return measure


PAPER = "Shai et al. 2024, of the final stream of Mess3 and of all layers of RRXOR: our reading"
BAYES = "no predictor is below the entropy; 0 is Bayes' own"
EXACT = "Bayes' rule before it is normalised is the process's own matrix"

study = CaseStudy(
    title="Belief states: does a transformer keep Bayes' belief in its residual stream?",
    citation="Shai, Marzen, Teixeira, Gietelink Oldenziel, Riechers, Transformers Represent Belief State Geometry in their "
    "Residual Stream, NeurIPS 2024, arXiv 2405.15943",
    question="Are Bayes' beliefs over hidden states written linearly in the stream, beyond what random weights keep?",
    prepare=prepare,
    examine=examine,
    claims=(
        *(Claim(f"{name}: loss above the entropy, share", 0, BAYES, 0.01, "one per cent of the entropy",
                number_of(f"{name}: loss", lambda found: found.share))
          for name in PROCESSES),
        Claim("Mess3: R2 of beliefs at the last block", 0.975, PAPER, 0.025, "0.95 or more",
              _if_enough(f"Mess3: {LAST}", lambda found: found.r2)),
        Claim("RRXOR: R2 of beliefs at all sites", 0.975, PAPER, 0.025, "0.95 or more",
              _if_enough("RRXOR: beliefs at all sites", lambda found: found.r2)),
        *(Claim(f"{name}: above beliefs of other runs", 1, "the paper's shuffled control", 0, "yes or no",
                _if_enough(f"{name}: {LAST}", _above("targets of other runs")))
          for name in PROCESSES),
        *(Claim(f"{name}: above every network of random weights", 1, "what was learned", 0, "yes or no",
                _if_enough(f"{name}: {LAST}", _above(TWIN)))
          for name in PROCESSES),
        Claim("Mess3: random weights stay below R2 0.95", 1, "else the bar shows nothing", 0, "yes or no",
              _if_enough(f"Mess3: {LAST}", lambda found: found.nulls[1].draws.max() < 0.95)),
        Claim("RRXOR: above the exact next-token probabilities by 0.1 of R2", 1, "beliefs hold more than the next token", 0,
              "yes or no", _if_enough(f"RRXOR: {LAST}", lambda found: found.r2 - found.control_r2[1] > 0.1)),
        *(Claim(f"Mess3: D_{q:g} of the read cloud less the exact one's", 0, "the same fractal", 0.1, "a tenth of a dimension",
                _apart(q))
          for q in (0.0, 1.0, 2.0)),
        Claim("Mess3: D_1 of the exact cloud less entropy rate over contraction", 0, "Jurgens and Crutchfield 2021", 0.1,
              "one decade of scales is about one period of the slope's swing", _beyond_theory),
        *(Claim(f"{name}: largest error of the tokens' matrices", 0, EXACT, 0.05, "a twentieth of a probability",
                _entries_off(name))
          for name in PROCESSES),
    ),
    scales={
        "tiny": {"anew": False, "runs": 60, "twins": 2, "shuffles": 9, "longest": 5, "steps": 50},
        "quick": {"anew": False, "runs": 1000, "twins": 19, "shuffles": 99, "longest": 8, "steps": 500},
        "full": {"anew": True, "runs": 1000, "twins": 19, "shuffles": 199, "longest": 10, "steps": 2000},
    },
)  # fmt: skip
