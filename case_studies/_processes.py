"""Hidden Markov processes whose best prediction is known: beliefs by Bayes' rule, entropies by summing over all histories.

A process is one matrix a token, T^(x)_ij = P(token x, then state j | state i). After a token the belief over hidden states
becomes b' = b T^(x) / |b T^(x)|_1, and the next token is x with probability |b T^(x)|_1. Sources: Shai, Marzen, Teixeira,
Gietelink Oldenziel, Riechers, arXiv 2405.15943 (2024), for Mess3 and RRXOR; Crutchfield and Young, Phys. Rev. Lett. 63, 105
(1989), for the golden mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hooks.dynamics import Dynamics


@dataclass(frozen=True, eq=False)
class HiddenProcess:
    """A stationary hidden Markov process.

    Attributes
    ----------
    transitions : (tokens, states, states)
        P(token, next state | state).
    """

    name: str
    transitions: np.ndarray

    @property
    def stationary(self) -> np.ndarray:
        """(states,): the belief before any token."""
        states = self.transitions.shape[1]
        equations = np.vstack([self.transitions.sum(0).T - np.eye(states), np.ones(states)])
        return np.linalg.lstsq(equations, np.append(np.zeros(states), 1.0), rcond=None)[0]

    def sample(self, *, runs: int, steps: int, generator: torch.Generator) -> Tensor:
        """(runs, steps) tokens, from the stationary start."""
        tokens, states, _ = self.transitions.shape
        outcomes = torch.from_numpy(self.transitions.transpose(1, 0, 2).reshape(states, tokens * states).copy())
        now = torch.multinomial(
            torch.from_numpy(self.stationary).clamp(min=0), runs, replacement=True, generator=generator
        )
        heard = torch.empty(runs, steps, dtype=torch.int64)
        for step in range(steps):
            drawn = torch.multinomial(outcomes[now], 1, generator=generator)[:, 0]
            heard[:, step], now = drawn // states, drawn % states
        return heard

    def beliefs(self, tokens: np.ndarray) -> np.ndarray:
        """(runs, steps) tokens -> (runs, steps, states): the belief after each token. NaN from an impossible token on."""
        belief = np.broadcast_to(self.stationary, (len(tokens), self.transitions.shape[1]))
        after = np.empty((*tokens.shape, belief.shape[1]))
        for step in range(tokens.shape[1]):
            joint = np.einsum("ri,rij->rj", belief, self.transitions[tokens[:, step]])
            total = joint.sum(1, keepdims=True)
            belief = np.divide(joint, total, out=np.full_like(joint, np.nan), where=total > 0)
            after[:, step] = belief
        return after

    def bayes_rule(self) -> Dynamics:
        """The update of a belief as a map driven by the token, b -> b T^(x) / |b T^(x)|_1, one step a token."""
        T = torch.from_numpy(self.transitions)

        def step(beliefs: Tensor, token: Tensor) -> Tensor:
            joint = torch.einsum("bi,bij->bj", beliefs, T[token[..., 0].long().expand(len(beliefs))])
            return joint / joint.sum(1, keepdim=True)

        return Dynamics(step, T.shape[1], name=f"Bayes' rule of {self.name}", clock="token", driven=True, inputs=1)

    def next_tokens(self, beliefs: np.ndarray) -> np.ndarray:
        """(..., states) beliefs -> (..., tokens) probabilities of the next token."""
        return beliefs @ self.transitions.sum(2).T

    def histories(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """All words of this length that can occur, (words, steps) in lexical order, and their probabilities (words,)."""
        words, joint = np.zeros((1, 0), dtype=np.int64), self.stationary[None]
        for _ in range(steps):
            longer = np.einsum("wi,xij->wxj", joint, self.transitions)
            parent, token = np.nonzero(longer.sum(2) > 0)
            words, joint = np.column_stack([words[parent], token]), longer[parent, token]
        return words, joint.sum(1)

    def conditional_entropies(self, steps: int) -> np.ndarray:
        """(steps,) nats: of the token after 1, 2, ... tokens, given all of them. They fall towards the entropy rate."""
        given = np.empty(steps)
        for length in range(1, steps + 1):
            words, share = self.histories(length)
            p = self.next_tokens(self.beliefs(words)[:, -1])
            given[length - 1] = -share @ np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0).sum(1)
        return given


def mess3(x: float = 0.05, a: float = 0.85) -> HiddenProcess:
    """Three states in a ring of hops, each hop of probability x, each state announced by its own token with probability a.

    The token is that of the state entered. Beliefs fill a fractal in the triangle.
    """
    hop = np.full((3, 3), x) + (1 - 3 * x) * np.eye(3)
    heard = np.full((3, 3), (1 - a) / 2) + (a - (1 - a) / 2) * np.eye(3)
    return HiddenProcess(f"Mess3({x:g}, {a:g})", np.einsum("ij,jx->xij", hop, heard))


def rrxor() -> HiddenProcess:
    """Two random bits and their exclusive or, over and over: 2/3 of a bit a token. States: start, 0, 1, xor 1, xor 0."""
    T = np.zeros((2, 5, 5))
    T[0, 0, 1] = T[1, 0, 2] = 0.5
    T[0, 1, 4] = T[1, 1, 3] = T[0, 2, 3] = T[1, 2, 4] = 0.5
    T[1, 3, 0] = T[0, 4, 0] = 1.0
    return HiddenProcess("RRXOR", T)


def golden_mean() -> HiddenProcess:
    """A fair coin, but never two zeros in a row: 2/3 of a bit a token, and beliefs known after one token."""
    T = np.zeros((2, 2, 2))
    T[1, 0, 0] = T[0, 0, 1] = 0.5
    T[1, 1, 0] = 1.0
    return HiddenProcess("golden mean", T)
