"""Token flow in selective state-space layers: do tokens vanish or diverge, and can the weights of a trained Mamba say so?

The paper follows tokens through a selective layer that is applied without end, without gate, convolution and norm: by the signs
of the eigenvalues of S_C' S_B they vanish or diverge. The laws of one dimension hold exactly here. In the plane one sign alone
decides as well; with both it does not: tokens may stop on the cone x' S_C' S_B x = 0. In a Mamba as it is trained, S_B and
S_C are free, and then their shape alone forces as many positive as negative eigenvalues, so that no layer of any such model is
in another regime than the mixed one; what training can change is their sizes. Not shown: the perplexities of the paper's
parametrisations, which take GPU days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.result import Result
from analyses.weights.token_flow import GROW, PASS, UNFINISHED, TokenFlow, token_flow
from analyses.weights.token_regime import token_regime
from case_studies._small_mamba import LAYERS, STATES, shipped, untrained
from case_studies._study import CaseStudy, number_of
from hooks.errors import InputError
from hooks.families.state_space import mixers, write_and_read
from interp.claims import Claim
from interp.journal import Journal

# of both kinds of numbers, so that nothing starts on the border of two regimes
LEAST, MOST = 0.3, 2.0
TOKENS = 10  # in the plane
LINE = {"mu < 0": (-1, 0), "mu > 0, step > 0": (1, 1), "mu > 0, step < 0": (1, -1)}
PLANE = {"both positive": (1, 1), "both negative": (-1, -1), "one of each": (1, -1)}


@dataclass(frozen=True, eq=False)
class Specimen:
    """Name -> tokens, S_B, S_C and S_step of runs; name -> S_B and S_C of layers; until when the runs go."""

    runs: Mapping[str, tuple[np.ndarray, ...]]
    layers: Mapping[str, tuple[np.ndarray, np.ndarray]]
    time: float


def prepare(*, draws: int, time: float, hub: str) -> Specimen:
    """So many draws of each regime, and the layers of the small Mamba and of a random one, or those of a model of a hub."""
    rng = np.random.default_rng(0)
    runs = {f"line, {name}": _on_the_line(rng, draws, *signs) for name, signs in LINE.items()}
    runs |= {f"plane, {name}": _in_the_plane(rng, draws, signs) for name, signs in PLANE.items()}
    models = {"trained": _of_hub(hub)} if hub else {"trained": shipped(), "random": untrained(1)}
    layers = {
        f"{name}, layer {layer}": tuple(part.numpy() for part in write_and_read(model, layer))
        for name, model in models.items()
        for layer in range(len(mixers(model)))
    }
    return Specimen(runs, layers, time)  # type: ignore[arg-type]


def _on_the_line(rng: np.random.Generator, draws: int, mu_sign: int, step_sign: int) -> tuple[np.ndarray, ...]:
    """Single tokens x with S_step x of this sign, or of any sign for 0."""
    x, mu, S_step = (rng.uniform(LEAST, MOST, (draws, 1, 1)) * rng.choice([-1, 1], (draws, 1, 1)) for _ in range(3))
    mu = mu_sign * np.abs(mu)
    S_step = step_sign * np.sign(x) * np.abs(S_step) if step_sign else S_step
    return x, mu, np.ones_like(mu), S_step


def _in_the_plane(rng: np.random.Generator, draws: int, signs: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Ten Gaussian tokens under M of these eigenvalues along random axes, with a random turn on top."""
    axes = np.linalg.qr(rng.standard_normal((draws, 2, 2)))[0]
    M = np.einsum("rij,rj,rkj->rik", axes, np.array(signs) * rng.uniform(LEAST, MOST, (draws, 2)), axes)
    M = M + rng.standard_normal((draws, 1, 1)) * np.array([[0.0, 1.0], [-1.0, 0.0]])
    tokens, S_step = rng.standard_normal((draws, TOKENS, 2)), rng.standard_normal((draws, 2, 2))
    return tokens, M, np.tile(np.eye(2), (draws, 1, 1)), S_step


def _of_hub(hub: str) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(hub).eval()
    except (OSError, ValueError) as error:
        raise InputError(f"{hub!r} gives no language model: {str(error).splitlines()[0]}") from None


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The fates of all runs, then the spectrum of each layer."""
    sentences = []
    for name, (tokens, S_B, S_C, S_step) in specimen.runs.items():
        flow = journal.note(name, token_flow, tokens, S_B, S_C, S_step, time=specimen.time)
        sentences.append(f"{name.capitalize()}. {flow.summary()}.")
    spectra = {}
    for name, pair in specimen.layers.items():
        spectra[name] = journal.note(name, token_regime, *pair)
        sentences.append(f"{name.capitalize()}. {spectra[name].summary()}.")
    forced = sum(found.forced for found in spectra.values())
    sentences.insert(
        0,
        f"In {forced} of {len(spectra)} layers the signs of the eigenvalues are forced by the shape of the matrices, so "
        "that the regime of such a layer is no finding; with gate, convolution and norm the theory says nothing.",
    )
    return tuple(sentences)


def _share(name: str) -> Callable[[Mapping[str, Result]], float]:
    return number_of(name, lambda flow: flow.as_predicted.mean())


def _limit(name: str) -> Callable[[Mapping[str, Result]], float]:
    """The departure from the law that is the largest."""
    return number_of(name, lambda flow: flow.law[np.abs(flow.law - 1).argmax()])


def _diverging(flow: TokenFlow) -> float:
    decided = [fate for fate in flow.fates if fate != UNFINISHED]
    return sum(fate in (PASS, GROW) for fate in decided) / len(decided)


def _positive(layer: int) -> Callable[[Mapping[str, Result]], float]:
    def measure(results: Mapping[str, Result]) -> float:
        found: Any = results[f"trained, layer {layer}"]
        if f"random, layer {layer}" not in results:
            raise KeyError("a model of a hub has another width")
        return float(found.positive)

    return measure


ALL = "every draw"
THEOREM, SIMULATED = "one-dimensional theorem", "conjecture and simulations"
SYLVESTER = "Sylvester: the width, for independent rows"
LAW = "closed form: dx/dt = -|mu| ln2 x^3 near 0"

study = CaseStudy(
    title="Token flow in selective state-space layers: do tokens vanish or diverge?",
    citation="Vo et al., Demystifying the Token Dynamics of Deep Selective State Space Models, ICLR 2025, arXiv 2410.03292",
    question="Where do tokens go when a selective layer is applied without end, and what do trained weights say of it?",
    prepare=prepare,
    examine=examine,
    claims=(
        *(Claim(f"line, {name}: share that goes where the signs say", 1, THEOREM, 0, ALL, _share(f"line, {name}"))
          for name in LINE),
        Claim("line, mu < 0: |x| sqrt(2 |mu| ln2 t), worst draw", 1, LAW, 0.01, "the next term is of order x at 1e6: 1e-3",
              _limit("line, mu < 0")),
        Claim("plane, both positive: share that diverges", 1, SIMULATED, 0, ALL, _share("plane, both positive")),
        Claim("plane, both negative: share that vanishes", 1, SIMULATED, 0, ALL, _share("plane, both negative")),
        Claim("plane, one of each: share of the decided runs that diverges", 1, SIMULATED, 0, ALL,
              number_of("plane, one of each", _diverging)),
        *(Claim(f"trained, layer {layer}: positive eigenvalues", STATES, SYLVESTER, 0, "a count",
                _positive(layer))
          for layer in range(LAYERS)),
    ),
    scales={
        "tiny": {"draws": 4, "time": 1e6, "hub": ""},
        "quick": {"draws": 20, "time": 1e6, "hub": ""},
        "full": {"draws": 200, "time": 1e6, "hub": ""},
    },
)  # fmt: skip
