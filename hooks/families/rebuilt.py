"""From the weights that a map carries, as they are written beside a report, to the map again."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hooks.dynamics import Dynamics
from hooks.errors import LoadError
from hooks.families.bilinear import bilinear
from hooks.families.closed_form import closed_form
from hooks.families.dynamix import dynamix
from hooks.families.encode_decode import looped
from hooks.families.flow import chained
from hooks.families.leaky_rate import LeakyRate
from hooks.families.liquid import LiquidTimeConstant
from hooks.families.long_expressive_memory import LongExpressiveMemory
from hooks.families.piecewise_linear import PiecewiseLinear
from hooks.families.recurrent import GATES, Layer, stacked


def rebuilt(weights: Mapping[str, Tensor | str | int]) -> Dynamics:
    """The map whose ``weights`` these are, in float64, its drive held if one was.

    Raises
    ------
    LoadError
        When they are not those of a known family, or a tensor is missing or misshapen.
    """
    try:
        dynamics = _family(dict(weights))
        return dynamics.hold(weights["drive"]) if "drive" in weights else dynamics
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise LoadError(f"these weights make no map: {type(error).__name__}: {error}") from None


def _family(weights: dict[str, Tensor | str | int]) -> Dynamics:
    family = weights.pop("family", "")
    weights.pop("drive", None)
    given: dict = weights  # of the right kinds, or the constructors say otherwise
    if family == "leaky rate":
        return LeakyRate(**given).dynamics()
    if family == "bilinear":
        return bilinear(**{**given, "normalised": bool(given["normalised"])})
    if family == "almost linear":
        return PiecewiseLinear(**{**given, "relu": int(given["relu"]), "outputs": int(given["outputs"])}).dynamics()
    if family == "dynamix":
        context, relu = given.pop("context"), int(given.pop("relu"))
        return dynamix(given, context, relu=relu, noisy="noise" in given)
    if family == "flow":
        return chained(given)
    if family == "loop":
        return looped({"family": family, **given})
    if family == "liquid time constant":
        dt = float(given.pop("dt"))
        return LiquidTimeConstant(**{**given, "unfolds": int(given["unfolds"])}).dynamics(dt=dt)
    if family == "long expressive memory":
        return LongExpressiveMemory(**{**given, "dt": float(given["dt"])}).dynamics()
    if family == "closed-form continuous-time":
        settings = {"mode": given.pop("mode"), "activation": given.pop("activation"), "dt": float(given.pop("dt"))}
        return closed_form(given, **settings)
    if family == "recurrent" and given["cell"] in GATES:
        depth = 1 + max(int(name.split(".")[1]) for name in given if name.startswith("layers."))
        names = ("W_x", "W_h", "b_x", "b_h")
        layers = [Layer(*(given[f"layers.{k}.{name}"] for name in names)) for k in range(depth)]
        readout = None
        if "readout.weight" in given:
            W, b = given["readout.weight"], given.get("readout.bias")
            readout = nn.Linear(W.shape[1], len(W), bias=b is not None, dtype=W.dtype)
            with torch.no_grad():
                readout.load_state_dict({"weight": W} if b is None else {"weight": W, "bias": b})
        return stacked(given["cell"], layers, readout=readout)
    raise LoadError(f"there is no family {family!r} of maps whose weights can be written")
