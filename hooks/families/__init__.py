"""One function a family: network -> Dynamics; and paths, one-parameter families of them."""

from hooks.families.closed_loop import closed_loop
from hooks.families.controlled import controlled_flow
from hooks.families.dynamix import dynamix
from hooks.families.flow import adaptive, flow
from hooks.families.foreign import foreign, from_jax
from hooks.families.leaky_rate import LeakyRate, dale, low_rank
from hooks.families.liquid import LiquidTimeConstant, is_liquid, liquid
from hooks.families.loop import iterated_stack, loop, recurrent_depth
from hooks.families.path import along_drive, along_weights
from hooks.families.piecewise_linear import PiecewiseLinear, ShallowPiecewiseLinear
from hooks.families.rebuilt import rebuilt
from hooks.families.recurrent import recurrent
from hooks.families.stepped import stepped

__all__ = [
    "LeakyRate",
    "LiquidTimeConstant",
    "PiecewiseLinear",
    "ShallowPiecewiseLinear",
    "adaptive",
    "along_drive",
    "along_weights",
    "closed_loop",
    "controlled_flow",
    "dale",
    "dynamix",
    "flow",
    "foreign",
    "from_jax",
    "is_liquid",
    "iterated_stack",
    "liquid",
    "loop",
    "low_rank",
    "rebuilt",
    "recurrent",
    "recurrent_depth",
    "stepped",
]
