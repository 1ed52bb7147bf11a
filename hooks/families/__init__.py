"""One function a family: network -> Dynamics; and paths, one-parameter families of them."""

from hooks.families.closed_loop import closed_loop
from hooks.families.flow import adaptive, flow
from hooks.families.leaky_rate import LeakyRate, dale, low_rank
from hooks.families.path import along_drive, along_weights
from hooks.families.piecewise_linear import PiecewiseLinear
from hooks.families.rebuilt import rebuilt
from hooks.families.recurrent import recurrent
from hooks.families.stepped import stepped

__all__ = [
    "LeakyRate",
    "PiecewiseLinear",
    "adaptive",
    "along_drive",
    "along_weights",
    "closed_loop",
    "dale",
    "flow",
    "low_rank",
    "rebuilt",
    "recurrent",
    "stepped",
]
