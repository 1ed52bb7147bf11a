"""One function a family: network -> Dynamics."""

from hooks.families.piecewise_linear import PiecewiseLinear
from hooks.families.recurrent import LeakyRate, dale, low_rank, recurrent
from hooks.families.stepped import stepped

__all__ = ["LeakyRate", "PiecewiseLinear", "dale", "low_rank", "recurrent", "stepped"]
