"""Are Mamba models Lyapunov-stable learners? Their states are, by construction, for any weights; their own generation is not.

The paper proves that the maximal Lyapunov exponent of a Mamba state is not positive, whatever is read. Here the exponents of
every state are given in closed form, mean(Delta) A, for a small Mamba trained on the source of Python's library and for a twin
of random weights: all negative, which says nothing about what was learned. The whole model under a given text is no other case,
since its slope is block triangular in the layers. The theorem ends where the model reads what it wrote. Closed on its own mean
prediction (the embedding averaged under softmax(logits / temperature)), the trained model is a map of 2160 coordinates whose
leading exponent may have either sign, and stands beside twins of random weights and twins of its own weights in random places.

What is found: in closed loop the trained model's leading exponent is positive at three standard errors, its twins' are not. Two
twins of each kind cannot say by rank that training did it; "full" draws nineteen.

Not shown: the paper's comparison of mixed precision and fine-tuning with other models, which needs models of a hub; and drawn
tokens, of which the mean embedding is the smooth stand-in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.maps.state_exponents import state_exponents
from analyses.result import Null, Result
from case_studies._ngram import library_source
from case_studies._small_gpt import as_bytes
from case_studies._small_mamba import LAYERS, shipped, shuffled, untrained
from case_studies._study import CaseStudy
from hooks.dynamics import rollout
from hooks.families import closed_loop, embeddings, recurrent_states, state_space_layer, state_space_model
from interp.claims import Claim
from interp.journal import Journal

WARM = 0.5  # temperature of the twins, and of the claim
PROMPT = 200  # bytes read before the loop is closed
SKIPPED = 2000  # bytes of a module before a text begins: past its heading
SEPARATE = (0.02, 0.05, 0.13, 0.45)  # steps that give sixteen rates apart by 0.01 or more
QR_BURN_IN, QR_STEPS = 1000, 400  # e^-10 of a frame's turn is left


@dataclass(frozen=True, eq=False)
class Specimen:
    """The models by name, and texts (texts, bytes) of modules that were not trained on."""

    models: Mapping[str, Any]
    texts: np.ndarray
    starts: int
    steps: int
    temperatures: tuple[float, ...]


def prepare(
    *, twins: int, texts: int, length: int, starts: int, steps: int, temperatures: tuple[float, ...]
) -> Specimen:
    """The trained model, so many twins of both kinds, and held-out texts."""
    models = {"trained": shipped()}
    for seed in range(1, twins + 1):
        models[f"random {seed}"] = untrained(seed)
        models[f"shuffled {seed}"] = shuffled(models["trained"], seed)
    _, held_out = library_source(least=2048)
    rows = [as_bytes(text)[SKIPPED : SKIPPED + length] for text in held_out]
    chosen = np.stack([row for row in rows if len(row) == length][:texts])
    return Specimen(models, chosen, starts, steps, temperatures)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """States in closed form and by QR, the whole model under a text, then all models in closed loop."""
    sentences = [_by_qr(journal, specimen)]
    for name in ("trained", *(name for name in specimen.models if name == "random 1")):
        model = specimen.models[name]
        for layer in range(LAYERS):
            features = torch.from_numpy(recurrent_states(model, specimen.texts, layer).drives.copy())  # type: ignore[union-attr]
            logs = state_space_layer(model, layer).log_decays(features)
            found = journal.note(f"{name}: states of layer {layer}", state_exponents, logs)
            sentences.append(f"{name.capitalize()}, layer {layer}. {found.summary()}.")
    sentences.append(_under_a_text(journal, specimen))
    leading = {name: _in_closed_loop(journal, specimen, name) for name in specimen.models}
    for kind, hypothesis in (("random", "training does nothing"), ("shuffled", "the sizes of the weights alone do it")):
        draws = np.array([exponent for name, exponent in leading.items() if name.startswith(kind)])
        if len(draws):
            null = Null(f"{kind} weights", hypothesis, "network", draws, leading["trained"])
            sentences.append(
                f"In closed loop at temperature {WARM:g} the trained model's leading exponent is {null.observed:+.3f} a token, "
                f"{len(draws)} twins of {kind} weights {draws.min():+.3f} to {draws.max():+.3f}; rank p = {null.p:.2g}"
                f"{'' if null.beaten else ', which so few twins cannot bring below 0.05' if len(draws) < 19 else ''}."
            )
    return tuple(sentences)


def _by_qr(journal: Journal, specimen: Specimen) -> str:
    """A layer of four channels with four states, whose rates QR can tell apart."""
    model = untrained(0, layers=1, units=2, states=4)
    with torch.no_grad():
        model.backbone.layers[0].mixer.dt_proj.bias.copy_(torch.tensor(SEPARATE).expm1().log())
    text = np.resize(specimen.texts, QR_BURN_IN + QR_STEPS)
    layer, drives = state_space_layer(model), recurrent_states(model, text).drives[0]  # type: ignore[index]
    dynamics = layer.dynamics()
    spectrum = journal.note(
        "sixteen states: exponents by QR", lyapunov_spectrum, dynamics, np.zeros((1, dynamics.dim)),
        steps=QR_STEPS, burn_in=QR_BURN_IN, drives=drives,
    )  # fmt: skip
    logs = layer.log_decays(torch.from_numpy(drives.copy()))
    found = journal.note("sixteen states: closed form", state_exponents, logs, burn_in=QR_BURN_IN, measured=spectrum)
    return f"A layer of sixteen states, random weights. {found.summary()}."


def _under_a_text(journal: Journal, specimen: Specimen) -> str:
    dynamics, text = state_space_model(specimen.models["trained"]), specimen.texts[0]
    found = journal.note(
        "trained: under a given text", lyapunov_spectrum, dynamics, np.zeros((1, dynamics.dim)),
        steps=len(text) // 2, burn_in=len(text) - len(text) // 2, directions=1,
        drives=embeddings(specimen.models["trained"], text),
    )  # fmt: skip
    return f"The whole trained model under a given text. {found.summary()}: that of its slowest state, by construction."


def _in_closed_loop(journal: Journal, specimen: Specimen, name: str) -> float:
    """The largest leading exponent of an attractor at ``WARM``; other temperatures for the trained model alone."""
    model, prompts = specimen.models[name], specimen.texts[: specimen.starts, :PROMPT]
    exponent = float("nan")
    for temperature in specimen.temperatures if name == "trained" else (WARM,):
        dynamics = state_space_model(model, temperature=temperature)
        starts = rollout(dynamics, np.zeros((len(prompts), dynamics.dim)), drives=embeddings(model, prompts)).states[
            :, -1
        ]
        found = journal.note(
            f"{name}: closed loop at {temperature:g}", lyapunov_spectrum, closed_loop(dynamics), starts,
            steps=specimen.steps, burn_in=specimen.steps // 3, directions=2,
        )  # fmt: skip
        if temperature == WARM:
            exponent = float(found.exponents[:, 0].max(initial=-np.inf))
    return exponent


def _largest(name: str) -> Callable[[Mapping[str, Result]], float]:
    def measure(results: Mapping[str, Result]) -> float:
        found: Any = [results[f"{name}: states of layer {layer}"] for layer in range(LAYERS)]
        return float(max(one.exponents[0] for one in found) < 0)

    return measure


def _leading(results: Mapping[str, Result], name: str) -> tuple[float, float]:
    """The largest leading exponent of an attractor, and its standard error."""
    found: Any = results[f"{name}: closed loop at {WARM:g}"]
    at = int(found.exponents[:, 0].argmax())
    return float(found.exponents[at, 0]), float(found.standard_errors[at, 0])


def _positive_loop(results: Mapping[str, Result]) -> float:
    exponent, error = _leading(results, "trained")
    if not np.isfinite(error):
        raise KeyError("too few steps")
    return float(exponent > 3 * error)


def _twins_above(results: Mapping[str, Result]) -> float:
    """Random twins whose leading exponent clears three standard errors."""
    names = [title.partition(":")[0] for title in results if title.startswith("random ") and "closed loop" in title]
    if not names:
        raise KeyError("no twins")
    return float(sum(exponent > 3 * error for exponent, error in (_leading(results, name) for name in names)))


def _beside_slowest(results: Mapping[str, Result]) -> float:
    whole: Any = results["trained: under a given text"]
    states: Any = [results[f"trained: states of layer {layer}"] for layer in range(LAYERS)]
    return float((whole.exponents[0, 0] - max(one.exponents[0] for one in states)) / whole.standard_errors[0, 0])


def _apart(results: Mapping[str, Result]) -> float:
    return float(results["sixteen states: closed form"].checks[0].got)


THEOREM = "theorems 1 and 2: no exponent of a state is positive"
YES = "yes or no"

study = CaseStudy(
    title="Mamba: are its states stable, and is what it writes?",
    citation="Halloran, Gulati and Roysdon, Mamba State-Space Models Are Lyapunov-Stable Learners, TMLR 2025, arXiv 2406.00209",
    question="Does the stability of Mamba's states, which holds for any weights, hold for a model that reads what it writes?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("sixteen states: QR against mean(Delta) A, largest difference", 0, "closed form, a diagonal slope", 1e-6,
              "e^-10 of the frame's turn over 400 tokens is left", _apart),
        Claim("trained: every state exponent negative", 1, THEOREM, 0, YES, _largest("trained")),
        Claim("random weights: every state exponent negative", 1, THEOREM, 0, YES, _largest("random 1")),
        Claim("trained, under a given text: leading exponent less that of the slowest state, in standard errors", 0,
              "block triangular slope: the union of the states' exponents", 3, "three standard errors", _beside_slowest),
        Claim(f"trained, in closed loop at {WARM:g}: leading exponent positive at three standard errors", 0,
              "the title, read as a claim about the learner and not its states: our reading", 0, YES, _positive_loop),
        Claim(f"random weights, in closed loop at {WARM:g}: twins with a positive leading exponent", 0,
              "our expectation: weak random feedback contracts", 0, "at three standard errors", _twins_above),
    ),
    scales={
        "tiny": {"twins": 1, "texts": 2, "length": 120, "starts": 1, "steps": 6, "temperatures": (WARM,)},
        "quick": {"twins": 2, "texts": 8, "length": 1024, "starts": 4, "steps": 300, "temperatures": (1.0, WARM)},
        "full": {"twins": 19, "texts": 32, "length": 4096, "starts": 8, "steps": 2000, "temperatures": (1.0, WARM, 0.2)},
    },
)  # fmt: skip
