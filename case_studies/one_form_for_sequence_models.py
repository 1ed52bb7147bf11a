"""One form for sequence models: attention, state-space layers and gated recurrences as h_i = Lambda_i h_(i-1) + B_i u_i.

The framework writes all three with a diagonal Lambda_i, y_i = C_i h_i + D_i u_i. Each is written so here, and its outputs are
held against the module's own: the mixers of a Mamba trained on the source of Python's library and of a Mamba-2 of random
weights (by the code of transformers), linear attention and softmax attention (as causal sums over all pairs), and a gated
recurrence whose gates see the input alone (by its loop). Softmax attention has infinitely many states; cut after ``order``
terms of the exponential it errs by no more than the remainder allows, which is its check. One form gives one account of
memory: its exponents, mean ln Lambda, and how far back the tokens look.

Not in the form: gates that see the state, as those of torch's GRU and LSTM do. Not shown: the associative-recall accuracies of
the paper, which take 1304 training runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from analyses.maps.state_exponents import state_exponents
from analyses.result import Result
from analyses.trajectories.token_mixing import token_mixing
from case_studies._ngram import library_source
from case_studies._small_gpt import as_bytes
from case_studies._small_mamba import shipped
from case_studies._study import CaseStudy, number_of
from hooks.families import attention_form, exponential_features, gated_layer, selective_layer
from hooks.families.linear_form import LinearForm, positive
from hooks.families.state_space import recorded
from interp.claims import Claim
from interp.journal import Journal

WIDTH, CHANNELS = 4, 6  # of the attention heads; of the gated recurrences
SKIPPED = 2000  # bytes of a module before the text begins
ORDERS = (6, 8, 10, 12)
SCORES = 0.3  # standard deviation of q . k
SOFTMAX = "softmax attention, order {}"


@dataclass(frozen=True, eq=False)
class Form:
    """A layer in the form, what it gives through the rest of its module, what the module gives, and how far they may differ."""

    form: LinearForm
    outputs: Tensor
    own: Tensor
    within: float = 1e-5


@dataclass(frozen=True, eq=False)
class Specimen:
    """Forms by name; two gates that are one."""

    forms: Mapping[str, Form]
    gates: tuple[Tensor, Tensor]


def prepare(*, texts: int, tokens: int) -> Specimen:
    """Every form on so many texts of so many tokens."""
    generator = torch.Generator().manual_seed(0)
    _, held_out = library_source(least=2048)
    rows = [as_bytes(text)[SKIPPED : SKIPPED + tokens] for text in held_out]
    read = torch.from_numpy(np.stack([row for row in rows if len(row) == tokens][:texts]))
    model, second = shipped(), _mamba2()
    forms = {f"Mamba, trained, layer {layer}": _of_mixer(model, read, layer) for layer in range(2)}
    forms["Mamba-2, random"] = _of_mixer(second, read, 0)

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    q, k, v = (some(texts, tokens, WIDTH) for _ in range(3))
    q = SCORES / WIDTH**0.5 * q
    scores = (positive(q) @ positive(k).mT).tril()
    form = attention_form(q, k, v)
    forms["linear attention"] = Form(form, form.outputs(), scores / scores.sum(-1, keepdim=True) @ v)
    exact = scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
    for order in ORDERS:
        form = attention_form(q, k, v, features=exponential_features(order, WIDTH))
        allowed = _bound(q @ k.mT, v, order) / float(exact.abs().max())
        forms[SOFTMAX.format(order)] = Form(form, form.outputs(), exact, within=allowed)

    W, b, x = (
        [some(CHANNELS, CHANNELS) for _ in range(3)],
        [some(CHANNELS) for _ in range(3)],
        some(texts, tokens, CHANNELS),
    )
    gated = gated_layer(*W, b_forget=b[0], b_input=b[1], b_output=b[2])
    forms["gated recurrence"] = Form(gated.form(x), gated.form(x).outputs(), _looped(W, b, x))
    turned = gated_layer(*W, b_forget=b[0], b_input=b[1], b_output=b[2], power=1.0)
    s6 = selective_layer(-torch.ones(CHANNELS, 1, dtype=torch.float64), to_step=W[0], step_bias=b[0],
                         to_write=some(1, CHANNELS), to_read=some(1, CHANNELS), skip=b[1])  # fmt: skip
    return Specimen(forms, (turned.log_decays(x), s6.log_decays(x)))


def _mamba2() -> Any:
    from transformers import Mamba2Config, Mamba2ForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "state_size": 8,
            "head_dim": 8,
            "num_heads": 8,
            "n_groups": 2,
        }
        return Mamba2ForCausalLM(Mamba2Config(vocab_size=256, chunk_size=16, **sizes)).eval()  # type: ignore[arg-type]


def _of_mixer(model: Any, read: Tensor, layer: int) -> Form:
    """y is linear in what is mixed, and the mixer's output in y."""
    mixer, features, rest, returned = recorded(model, read, layer)
    form = mixer.layer.form(features)
    return Form(form, mixer.finish(_mixed(form), rest), returned.double())


def _mixed(form: LinearForm) -> Tensor:
    return torch.einsum("rcij,rjc->ric", form.mixing(), form.values)


def _looped(W: list[Tensor], b: list[Tensor], x: Tensor) -> Tensor:
    forget, enter, leave = (torch.sigmoid(x @ weight.mT + bias) for weight, bias in zip(W, b, strict=True))
    h, said = torch.zeros_like(x[:, 0]), []
    for f, i, o, u in zip(forget.unbind(1), enter.unbind(1), leave.unbind(1), x.unbind(1), strict=True):
        h = f * h + i * u
        said.append(o * h)
    return torch.stack(said, dim=1)


def _bound(scores: Tensor, values: Tensor, order: int) -> float:
    """Of the outputs, when every weight errs by at most a share s of itself: 2 s / (1 - s) max |v|; infinite from s = 1 on."""
    seen = scores.tril()
    remainder = seen.abs() ** (order + 1) * (-seen).clamp(min=0).exp() / math.factorial(order + 1)
    share = float(remainder.max())
    return 2 * share / (1 - share) * float(values.abs().max()) if share < 1 else math.inf


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """How each layer mixes tokens, and how fast it forgets."""
    sentences = []
    for name, given in specimen.forms.items():
        mixing = journal.note(
            f"{name}: mixing",
            token_mixing,
            given.form.mixing(),
            outputs=given.outputs,
            own_outputs=given.own,
            within=given.within,
        )
        sentences.append(f"{name}. {mixing.summary()[0].upper()}{mixing.summary()[1:]}.")
        if name.startswith("softmax") and name != SOFTMAX.format(ORDERS[-1]):
            continue  # one normaliser, cut earlier
        forgets = journal.note(f"{name}: exponents", state_exponents, given.form.log_decays.flatten(2))
        sentences.append(f"{name}. {forgets.summary()[0].upper()}{forgets.summary()[1:]}.")
    for name, logs in zip(("reversed sigmoid", "S6 with A = -1"), specimen.gates, strict=True):
        journal.note(f"{name}: exponents", state_exponents, logs)
    allowed = [(order, specimen.forms[SOFTMAX.format(order)].within) for order in ORDERS]
    told = ", ".join(f"{bound:.1g} at order {order}" for order, bound in allowed)
    sentences.append(
        f"Softmax attention cut: the remainder of the exponential allows {told}, as shares of the largest output."
    )
    return tuple(sentences)


def _apart(name: str) -> Callable[[Mapping[str, Result]], float]:
    return number_of(f"{name}: mixing", lambda found: found.apart)


def _falling(results: Mapping[str, Result]) -> float:
    gaps = [_apart(SOFTMAX.format(order))(results) for order in ORDERS]
    return float(gaps == sorted(gaps, reverse=True))


def _gates_apart(results: Mapping[str, Result]) -> float:
    one, other = (results[f"{name}: exponents"] for name in ("reversed sigmoid", "S6 with A = -1"))
    return float(np.abs(one.per_run - other.per_run).max())  # type: ignore[attr-defined]


FORM = "the framework's equivalences"
SINGLE = "rounding of the module's float32"
DOUBLE = "rounding"

study = CaseStudy(
    title="One form for sequence models: attention, state-space layers and gated recurrences",
    citation="Sieber, Amo Alonso, Didier, Zeilinger and Orvieto, Understanding the Differences in Foundation Models: "
    "Attention, State Space Models, and Recurrent Neural Networks, NeurIPS 2024",
    question="Are attention, state-space layers and gated recurrences one linear recurrence, to the digits of their outputs?",
    prepare=prepare,
    examine=examine,
    claims=(
        *(Claim(f"{name}: outputs apart", 0, FORM, 1e-5, SINGLE, _apart(name))
          for name in ("Mamba, trained, layer 0", "Mamba, trained, layer 1", "Mamba-2, random")),
        Claim("linear attention: outputs apart", 0, FORM, 1e-10, DOUBLE, _apart("linear attention")),
        Claim("gated recurrence: outputs apart", 0, FORM, 1e-10, DOUBLE, _apart("gated recurrence")),
        Claim("softmax attention, order 12: outputs apart", 0, "softmax attention is the limit of infinitely many states", 1e-5,
              "asked of all forms", _apart(SOFTMAX.format(12))),
        Claim("softmax attention: the error falls with every order", 1, "series of the exponential", 0, "yes or no", _falling),
        Claim("reversed sigmoid gate and S6 with A = -1: exponents apart", 0, "exp(-softplus(x)) = sigmoid(-x)", 1e-12, DOUBLE,
              _gates_apart),
    ),
    scales={
        "tiny": {"texts": 2, "tokens": 24},
        "quick": {"texts": 4, "tokens": 96},
        "full": {"texts": 16, "tokens": 192},
    },
)  # fmt: skip
