"""Tasks that networks are trained on: input and target sequences drawn from a generator."""

import torch
from jaxtyping import Float
from torch import Tensor


def flip_flop(
    *, bits: int, runs: int, steps: int, generator: torch.Generator, pulse: float = 0.2
) -> tuple[Float[Tensor, "runs steps bits"], Float[Tensor, "runs steps bits"]]:
    """Remember the sign of the last pulse on each channel.

    Each channel carries a pulse of +1 or -1 with probability ``pulse`` a step and 0 otherwise; the first step sets
    every bit. The target is the running memory (Sussillo and Barak, Neural Computation 2013, section 4).
    """
    signs = torch.randint(2, (runs, steps, bits), generator=generator) * 2.0 - 1
    present = torch.rand(runs, steps, bits, generator=generator) < pulse
    present[:, 0] = True
    inputs = signs * present
    last = torch.where(present, torch.arange(steps)[:, None], -1).cummax(1).values
    return inputs, inputs.gather(1, last)
