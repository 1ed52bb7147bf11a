"""Fractal structure of language: does the surprise of a text remember itself, and beyond what its shuffle does?

The paper scores documents with language models and finds that surprisal, -log p(token | all before it), is persistent (H about
0.7) and its sum self-similar. Here, offline, a trigram model with a cache is trained on two thirds of Python's standard library
and scores modules that it has not seen; with ``hub`` any causal language model scores the same modules. R/S of finite series is
biased (0.54 for white noise), so exponents are read against simulated fractional noise, and three controls stand beside them:
the scored steps shuffled; their blocks shuffled; and the tokens shuffled before the model scores them.

The claims of the paper are held against raw slopes, as it gives them, although model, tokens and data are others. S and H
agree, J differs, and the reason is not known. The cache learns along a document, so that shuffled tokens grow less surprising
towards its end, which raises J of them more than H.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from analyses.result import Result
from analyses.series.long_range import long_range
from case_studies._ngram import as_tokens, library_source, ngram, numbered
from case_studies._study import CaseStudy, number_of
from hooks.errors import InputError
from hooks.surprisal import surprisal
from interp.claims import Claim
from interp.journal import Journal

SKIPPED = 128  # tokens at a document's start, the code's: there the model has little to go by
NEEDED = 1012  # steps that 1.5 decades take
HURSTS = (0.5, 0.7, 0.8)
NOISES = 40  # series of each fractional noise
ENOUGH = 50  # documents below which nothing is held against the paper's 1000 a domain


@dataclass(frozen=True, eq=False)
class Specimen:
    """Fractional noises by H; a model, and the held-out documents as its tokens (documents, steps)."""

    noises: Mapping[float, np.ndarray]
    model: Callable[[Tensor], Any]
    documents: np.ndarray
    about: str


def prepare(*, documents: int, words: int, hub: str) -> Specimen:
    """Noises of ``words`` steps; the trigram model, or that of a hub, and so many documents of ``words`` tokens to be read."""
    noises = {H: fractional_noise(H, NOISES, words) for H in HURSTS}
    training, held_out = library_source(least=words + SKIPPED)
    if hub:
        return Specimen(noises, *_of_hub(hub, held_out, documents, words + SKIPPED), f"Model {hub}")
    known = numbered(training)
    texts = [as_tokens(text, known) for text in training]
    model = ngram(texts, len(known) + 1)
    chosen = np.stack([as_tokens(text, known)[: words + SKIPPED] for text in held_out[:documents]])
    about = f"Trigrams of {sum(map(len, texts))} tokens in {len(texts)} modules, {len(known) + 1} kinds"
    return Specimen(noises, model, chosen, about)


def fractional_noise(H: float, rows: int, steps: int) -> np.ndarray:
    """(rows, steps), exact, by another way than the calibration's own: the covariance's Cholesky factor times white noise."""
    k = np.arange(steps)
    covariance = (np.abs(k - 1.0) ** (2 * H) - 2 * k ** (2.0 * H) + (k + 1.0) ** (2 * H)) / 2
    factor = np.linalg.cholesky(covariance[np.abs(k[:, None] - k)])
    return np.random.default_rng(0).standard_normal((rows, steps)) @ factor.T


def _of_hub(hub: str, texts: list[str], documents: int, steps: int) -> tuple[Callable[[Tensor], Any], np.ndarray]:
    """A causal language model by id or folder, and the first tokens of each document, as many as its context takes."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer, model = AutoTokenizer.from_pretrained(hub), AutoModelForCausalLM.from_pretrained(hub).eval()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{hub!r} gives no causal language model with its tokenizer: {str(error).splitlines()[0]}"
        ) from None
    steps = min(steps, getattr(model.config, "max_position_embeddings", steps))
    rows = [tokenizer(text, truncation=True, max_length=steps)["input_ids"] for text in texts]
    rows = [row for row in rows if len(row) == steps][:documents]
    if not rows:
        raise InputError(f"none of {len(texts)} modules has {steps} tokens of {hub!r}")
    return model, np.array(rows, dtype=np.int64)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Fractional noises, then the documents as they are and with their tokens shuffled."""
    sentences = []
    for H, noise in specimen.noises.items():
        found = journal.note(f"fractional noise, H {H}", long_range, noise, draws=0)
        sentences.append(f"Fractional noise of H {H}. {found.summary()}.")
    shuffled = np.random.default_rng(0).permuted(specimen.documents, axis=1)
    for title, documents in (("code", specimen.documents), ("code, tokens shuffled", shuffled)):
        scored = surprisal(specimen.model, documents)
        series = scored[:, max(0, min(SKIPPED, scored.shape[1] - NEEDED)) :]
        found = journal.note(title, long_range, series)
        raw = ", ".join(f"{name} {slope:.2f}" for name, slope in zip(found.quantities, found.raw, strict=True))
        bits = series.mean() / np.log(2)
        sentences.append(
            f"{title.capitalize()}, {bits:.2f} bits a token, {series.shape[1]} steps. {found.summary()}. Raw slopes: {raw}."
        )
    return (f"{specimen.about}; {len(specimen.documents)} documents held out.", *sentences)


def _exponent(title: str, quantity: str) -> Callable[[Mapping[str, Result]], float]:
    return number_of(title, lambda found: found.exponents[found.quantities.index(quantity)])


def _raw(quantity: str) -> Callable[[Mapping[str, Result]], float]:
    def measure(results: Mapping[str, Result]) -> float:
        found: Any = results["code"]
        if found.used < ENOUGH:
            raise KeyError(f"{found.used} documents")
        return float(found.raw[found.quantities.index(quantity)])

    return measure


def _bias(H: float) -> Callable[[Mapping[str, Result]], float]:
    def measure(results: Mapping[str, Result]) -> float:
        found: Any = results["code"]
        if 1024 not in found.scales[-1:]:
            raise KeyError("other scales")
        return float(found.calibration[np.isclose(found.hursts, H), found.quantities.index("H")][0])

    return measure


def _above_shuffle(results: Mapping[str, Result]) -> float:
    return _exponent("code", "H")(results) - _exponent("code, tokens shuffled", "H")(results) > 0.1


PAPER = "GitHub, per-domain table; different model and data: our reading"
SPREAD = "the paper's spread over domains and models, one standard deviation"
BIAS = "200 simulated series, scales 16 to 1024, measured before by other code"
FGN = "closed form: all exponents of fractional noise are H"

study = CaseStudy(
    title="Fractal structure of language: does the surprise of a text remember itself?",
    citation="Alabdulmohsin, Tran, Dehghani, Fractal Patterns May Illuminate the Success of Next-Token Prediction, NeurIPS "
    "2024, arXiv 2402.01825",
    question="Is the surprisal of source code self-similar and long-range dependent, beyond what its shuffles show?",
    prepare=prepare,
    examine=examine,
    claims=(
        *(Claim(f"fractional noise of H {H}: H by R/S, calibrated", H, FGN, 0.03,
                "one series scatters by 0.07 at most, forty and their calibration by 0.013",
                _exponent(f"fractional noise, H {H}", "H"))
          for H in HURSTS),
        *(Claim(f"simulated fractional noise of H {H}: raw slope of R/S", slope, BIAS, 0.02, "four standard errors, 100 series",
                _bias(H))
          for H, slope in zip(HURSTS, (0.544, 0.709, 0.783), strict=True)),
        Claim("code: H above its shuffled tokens by more than 0.1", 1, "long-range dependence", 0, "yes or no", _above_shuffle),
        Claim("code, tokens shuffled: H", 0.5, "independent tokens have no memory", 0.03, "as for fractional noise",
              _exponent("code, tokens shuffled", "H")),
        Claim("code: raw H", 0.79, PAPER, 0.09, SPREAD, _raw("H")),
        Claim("code: raw S", 0.60, PAPER, 0.08, SPREAD, _raw("S")),
        Claim("code: raw J", 0.49, PAPER, 0.08, SPREAD, _raw("J")),
    ),
    scales={
        "tiny": {"documents": 20, "words": 1024, "hub": ""},
        "quick": {"documents": 80, "words": 2048, "hub": ""},
        "full": {"documents": 1000, "words": 2048, "hub": ""},
    },
)  # fmt: skip
