"""One linear form for sequence models: a diagonal recurrence whose coefficients the tokens set.

    h_i = Lambda_i h_(i-1) + B_i u_i,    y_i = C_i h_i + D_i u_i,    Lambda_i diagonal,

the form in which the Dynamical Systems Framework writes attention, state-space layers and gated recurrences (Sieber et al.,
NeurIPS 2024), here with h as ``channels`` rows of ``width`` numbers, each channel with one number u and y a token. Where the
coefficients depend on the token alone, a layer is a driven ``Dynamics`` (``StateSpaceLayer``); those of normalised attention
depend on all tokens so far, so that it has a form along a sequence only (``attention_form``).

Exact: S4D, S6, linear attention, and gates that see the input alone. Softmax attention has infinitely many states; with the
exponential cut after ``order`` terms (``exponential_features``) it is exact as that order grows, and not before.

Cost: a scan of all tokens one by one, O(runs tokens channels width); ``mixing`` O(runs tokens^2 channels width).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from jaxtyping import Float, Inexact
from torch import Tensor
from torch.nn.functional import elu, logsigmoid, softplus

from hooks.dynamics import Dynamics, digest
from hooks.errors import InputError

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class LinearForm:
    """Coefficients for each token; the leading axes are (runs, tokens), or whatever the layer was given.

    Attributes
    ----------
    log_decays : (..., channels, width)
        ln Lambda, real or complex; -inf where everything is forgotten.
    writes, reads : (..., channels, width)
        B and C.
    skips, values : (..., channels)
        D and u.
    """

    log_decays: Inexact[Tensor, "*tokens channels width"]
    writes: Inexact[Tensor, "*tokens channels width"]
    reads: Inexact[Tensor, "*tokens channels width"]
    skips: Float[Tensor, "*tokens channels"]
    values: Float[Tensor, "*tokens channels"]

    def states(
        self, start: Inexact[Tensor, "runs channels width"] | None = None
    ) -> Inexact[Tensor, "runs steps channels width"]:
        """h before the first token and after each, tokens + 1 of them; from zero where no start is given."""
        decays, into = self.log_decays.exp(), self.writes * self.values[..., None]
        now = torch.zeros_like(into[:, 0]) if start is None else start
        states = [now]
        for decay, write in zip(decays.unbind(1), into.unbind(1), strict=True):
            now = decay * now + write
            states.append(now)
        return torch.stack(states, dim=1)

    def read(self, states: Inexact[Tensor, "*tokens channels width"]) -> Float[Tensor, "*tokens channels"]:
        """y of the states after their tokens; the real part where states are complex."""
        said = (self.reads * states).sum(dim=-1)
        return (said.real if said.is_complex() else said) + self.skips * self.values

    def outputs(self) -> Float[Tensor, "runs tokens channels"]:
        """y of every token, from the zero state."""
        return self.read(self.states()[:, 1:])

    def mixing(self) -> Float[Tensor, "runs channels tokens tokens"]:
        """The same as attention: y_i = sum over j <= i of M_ij u_j, M_ij = C_i Lambda_i ... Lambda_(j+1) B_j + D_i [i = j].

        In S6 the hidden attention of Ali, Zimerman and Wolf (arXiv 2403.01590).
        """
        decays = self.log_decays.exp()
        runs, tokens, channels, width = decays.shape
        reached = torch.zeros(runs, tokens, channels, width, dtype=torch.result_type(decays, self.writes))
        rows = []
        for i in range(tokens):
            reached = decays[:, i, None] * reached
            reached[:, i] = self.writes[:, i]
            said = (self.reads[:, i, None] * reached).sum(dim=-1)
            rows.append(said.real if said.is_complex() else said)
        own = torch.diag_embed(self.skips.movedim(1, -1))
        return torch.stack(rows, dim=1).movedim(3, 1) + own


@dataclass(frozen=True, eq=False)
class StateSpaceLayer:
    """A recurrence that is linear in its state, with coefficients that the token's features set.

    Attributes
    ----------
    form
        Features (..., inputs) -> LinearForm.
    inputs, channels, width
        Numbers a token; the state is (channels, width).
    rotating
        Whether the state is complex: as coordinates of a Dynamics, its real and imaginary parts side by side.
    """

    form: Callable[[Tensor], LinearForm]
    inputs: int
    channels: int
    width: int
    name: str
    rotating: bool = False
    dtype: torch.dtype = torch.float64
    fingerprint: str = ""

    @property
    def dim(self) -> int:
        """Coordinates of the state as real numbers."""
        return self.channels * self.width * (2 if self.rotating else 1)

    def log_decays(self, features: Float[Tensor, "*tokens inputs"]) -> Float[Tensor, "*tokens dim"]:
        """ln |Lambda| of each coordinate of the state: what a token does to the distance of two states."""
        logs = self.form(features).log_decays
        sizes = logs.real[..., None].expand(*logs.shape, 2) if self.rotating else logs
        return sizes.reshape(*features.shape[:-1], self.dim)

    def flat(self, states: Inexact[Tensor, "*tokens channels width"]) -> Float[Tensor, "*tokens dim"]:
        """States as coordinates."""
        real = torch.view_as_real(states) if self.rotating else states
        return real.reshape(*states.shape[:-2], self.dim)

    def unflat(self, states: Float[Tensor, "*tokens dim"]) -> Inexact[Tensor, "*tokens channels width"]:
        """Coordinates as states."""
        if self.rotating:
            return torch.view_as_complex(states.reshape(*states.shape[:-1], self.channels, self.width, 2).contiguous())
        return states.reshape(*states.shape[:-1], self.channels, self.width)

    def dynamics(self) -> Dynamics:
        """The recurrence as a map of its state, driven by the features of each token; its slope is the same in every state."""

        def step(states: Tensor, features: Tensor) -> Tensor:
            form = self.form(features)
            return self.flat(form.log_decays.exp() * self.unflat(states) + form.writes * form.values[..., None])

        def push(states: Tensor, tangents: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
            decays = self.form(features).log_decays.exp().unsqueeze(-3)
            return step(states, features), self.flat(decays * self.unflat(tangents.mT)).mT

        def slope(states: Tensor, features: Tensor) -> Tensor:
            return push(states, torch.eye(self.dim).to(states).expand(len(states), -1, -1), features)[1]

        return Dynamics(
            step, dim=self.dim, name=self.name, clock="token", driven=True, inputs=self.inputs, dtype=self.dtype,
            push=push, jacobian=slope, fingerprint=self.fingerprint,
        )  # fmt: skip


def selective_layer(
    A: Tensor, *, to_step: Tensor, step_bias: Tensor, to_write: Tensor, to_read: Tensor, skip: Tensor, name: str = "S6"
) -> StateSpaceLayer:
    """S6: Lambda = exp(Delta A), B = Delta (to_write u), C = to_read u, Delta = softplus(to_step u + step_bias) > 0.

    The selective layer of Mamba (Gu and Dao, arXiv 2312.00752, algorithm 2) with its simplified step of B.

    Parameters
    ----------
    A : (channels, width)
        Negative in Mamba.
    to_step : (channels, channels)
    step_bias, skip : (channels,)
    to_write, to_read : (width, channels)

    Raises
    ------
    InputError
        For matrices that do not fit.
    """
    channels, width = A.shape
    _fit({"to_step": (to_step, (channels, channels)), "step_bias": (step_bias, (channels,)), "skip": (skip, (channels,)),
          "to_write": (to_write, (width, channels)), "to_read": (to_read, (width, channels))})  # fmt: skip

    def form(u: Tensor) -> LinearForm:
        steps = softplus(u @ to_step.mT + step_bias)
        return selective_form(u, steps[..., None] * A, steps, u @ to_write.mT, u @ to_read.mT, skip)

    name_of = digest(A, to_step, step_bias, to_write, to_read, skip)
    return StateSpaceLayer(form, channels, channels, width, name, dtype=A.dtype, fingerprint=name_of)


def selective_form(
    values: Tensor, log_decays: Tensor, steps: Tensor, writes: Tensor, reads: Tensor, skip: Tensor
) -> LinearForm:
    """S6 from its parts: steps and values (..., channels), writes and reads (..., width) shared by the channels, or
    (..., channels, width)."""
    shape = log_decays.shape
    writes, reads = (part if part.ndim == len(shape) else part[..., None, :] for part in (writes, reads))
    return LinearForm(
        log_decays, (steps[..., None] * writes).expand(shape), reads.expand(shape), skip.expand(values.shape), values
    )


def diagonal_layer(
    A: Inexact[Tensor, "channels width"],
    B: Inexact[Tensor, "channels width"],
    C: Inexact[Tensor, "channels width"],
    D: Float[Tensor, " channels"],
    *,
    step: Float[Tensor, " channels"],
    name: str = "S4D",
) -> StateSpaceLayer:
    """S4D: h' = A h + B u held over ``step``, so Lambda = exp(step A) and B_i = (Lambda - 1) / A B, the same for every token.

    Gu, Gupta, Goel and Re, On the parameterization and initialization of diagonal state space models (NeurIPS 2022). Complex
    arrays stand for conjugate pairs, so y = 2 Re(C h) + D u.

    Raises
    ------
    InputError
        For arrays that do not fit, an A that is zero somewhere, or a step that is not positive.
    """
    _fit({"B": (B, A.shape), "C": (C, A.shape), "D": (D, A.shape[:1]), "step": (step, A.shape[:1])})
    if (A == 0).any() or (step <= 0).any():
        raise InputError("a diagonal layer has A away from zero and positive steps: an integrator has no held input")
    rotating = any(part.is_complex() for part in (A, B, C))
    A, B, C = (part.to(torch.result_type(A, torch.ones(1, dtype=torch.complex64)) if rotating else A.dtype)
               for part in (A, B, C))  # fmt: skip
    logs = step[:, None] * A
    writes, reads = torch.expm1(logs) / A * B, 2 * C if rotating else C

    def form(u: Tensor) -> LinearForm:
        shape = (*u.shape[:-1], *A.shape)
        return LinearForm(logs.expand(shape), writes.expand(shape), reads.expand(shape), D.expand(u.shape), u)

    name_of = digest(*(torch.view_as_real(part) if rotating else part for part in (A, B, C)), D, step)
    channels, width = A.shape
    return StateSpaceLayer(form, channels, channels, width, name, rotating, dtype=D.dtype, fingerprint=name_of)


def gated_layer(
    W_forget: Tensor, W_input: Tensor, W_output: Tensor, *, b_forget: Tensor, b_input: Tensor, b_output: Tensor,
    power: float | None = None, name: str = "qLSTM",
) -> StateSpaceLayer:  # fmt: skip
    """A gated recurrence whose gates see the input alone: h = f h + i u, y = o h, with f, i, o = sigmoid(W u + b).

    The qLSTM of the Dynamical Systems Framework, of width 1. With ``power`` p the forget gate is the reversed sigmoid
    sigmoid(-(W u + b))^p = exp(-p softplus(W u + b)): the decay of S6 with A = -p.

    Raises
    ------
    InputError
        For matrices other than (channels, channels), or a power that is not positive.
    """
    channels = len(W_forget)
    square, line = (channels, channels), (channels,)
    _fit({"W_forget": (W_forget, square), "W_input": (W_input, square), "W_output": (W_output, square),
          "b_forget": (b_forget, line), "b_input": (b_input, line), "b_output": (b_output, line)})  # fmt: skip
    if power is not None and power <= 0:
        raise InputError(f"a reversed sigmoid forgets with a positive power, not {power}")

    def form(u: Tensor) -> LinearForm:
        forget = u @ W_forget.mT + b_forget
        logs = logsigmoid(forget) if power is None else -power * softplus(forget)
        enter, leave = (torch.sigmoid(u @ W.mT + b) for W, b in ((W_input, b_input), (W_output, b_output)))
        return LinearForm(logs[..., None], enter[..., None], leave[..., None], torch.zeros_like(u), u)

    name_of = digest(W_forget, W_input, W_output, b_forget, b_input, b_output, power)
    return StateSpaceLayer(form, channels, channels, 1, name, dtype=W_forget.dtype, fingerprint=name_of)


def linear_attention(
    W_query: Tensor, W_key: Tensor, W_value: Tensor, *, features: Features | None = None, name: str = "linear attention"
) -> StateSpaceLayer:
    """Causal linear attention as a recurrence that forgets nothing: h = h + v phi(k), y = h phi(q).

    Katharopoulos, Vyas, Pappas and Fleuret (ICML 2020), equations 16 to 20. The last channel, of value 1, is the normaliser:
    normalised attention is y of the others over y of the last.

    Parameters
    ----------
    W_query, W_key : (width, inputs)
    W_value : (channels, inputs)
    features
        phi, (..., width) -> (..., features); 1 + elu when left out.

    Raises
    ------
    InputError
        For matrices that do not fit.
    """
    phi = features or positive
    _fit({"W_key": (W_key, W_query.shape), "W_value": (W_value, (len(W_value), W_query.shape[1]))})
    inputs = W_query.shape[1]
    channels, width = len(W_value) + 1, phi(W_query[:, 0]).shape[-1]

    def form(x: Tensor) -> LinearForm:
        values = torch.cat([x @ W_value.mT, torch.ones_like(x[..., :1])], dim=-1)
        queries, keys = (phi(x @ W.mT)[..., None, :].expand(*values.shape, width) for W in (W_query, W_key))
        return LinearForm(torch.zeros_like(keys), keys, queries, torch.zeros_like(values), values)

    name_of = digest(W_query, W_key, W_value, phi(W_query.mT))
    return StateSpaceLayer(form, inputs, channels, width, name, dtype=W_value.dtype, fingerprint=name_of)


def attention_form(
    queries: Float[Tensor, "runs tokens width"],
    keys: Float[Tensor, "runs tokens width"],
    values: Float[Tensor, "runs tokens channels"],
    *,
    features: Features | None = None,
) -> LinearForm:
    """Normalised causal attention along given tokens: Lambda_i = n_(i-1) / n_i, B_i = phi(k_i) / n_i, C_i = phi(q_i).

    n_i = phi(q_i) . (phi(k_1) + ... + phi(k_i)) is the normaliser of token i, so the outputs are those of attention with the
    weights phi(q_i) . phi(k_j) / n_i. Lambda_1 multiplies the zero state; it is 1 here.

    Parameters
    ----------
    features
        phi, (..., width) -> (..., features): 1 + elu when left out; ``exponential_features`` for softmax attention.

    Raises
    ------
    InputError
        When a normaliser is not positive, so that features of this kind have no normalised attention.
    """
    phi = features or positive
    asked, given = phi(queries), phi(keys)
    totals = (asked * given.cumsum(dim=1)).sum(dim=-1)
    if not (totals > 0).all():
        raise InputError(
            f"{int((~(totals > 0)).sum())} of {totals.numel()} normalisers are not positive: other features"
        )
    logs = torch.diff(-totals.log(), dim=1, prepend=-totals[:, :1].log())
    shape = (*values.shape, asked.shape[-1])
    return LinearForm(
        logs[..., None, None].expand(shape),
        (given / totals[..., None])[..., None, :].expand(shape),
        asked[..., None, :].expand(shape),
        torch.zeros_like(values),
        values,
    )


def positive(x: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens width"]:
    """1 + elu(x), the features of Katharopoulos et al."""
    return 1 + elu(x)


def exponential_features(order: int, width: int) -> Features:
    """phi with phi(q) . phi(k) = sum over j <= order of (q . k)^j / j!, the exponential cut after ``order`` terms.

    One feature x^a / sqrt(a!) a monomial: C(width + order, order) of them. An even order is positive everywhere, so that its
    attention can be normalised. With s = q . k the sum misses exp(s) by at most exp(max(s, 0)) |s|^(order + 1) / (order + 1)!.

    Raises
    ------
    InputError
        For an odd or negative order, or no width.
    """
    if order < 0 or order % 2 or width < 1:
        raise InputError(f"exponential features have an even order and a width, but order={order}, width={width} came")
    powers = [index for j in range(order + 1) for index in combinations_with_replacement(range(width), j)]
    counts = torch.tensor([[index.count(axis) for axis in range(width)] for index in powers])
    sizes = [math.sqrt(math.prod(map(math.factorial, row))) for row in counts.tolist()]
    scale = torch.tensor(sizes, dtype=torch.float64)

    def phi(x: Tensor) -> Tensor:
        ladder = torch.stack([x**n for n in range(order + 1)], dim=-1)  # (..., width, order + 1)
        picked = ladder[..., torch.arange(width), counts]  # (..., features, width)
        return picked.prod(dim=-1) / scale.to(x)

    return phi


def _fit(given: dict[str, tuple[Tensor, tuple[int, ...]]]) -> None:
    for name, (part, shape) in given.items():
        if tuple(part.shape) != tuple(shape):
            raise InputError(f"{name} has shape {tuple(part.shape)}, but {tuple(shape)} fits the others")
