"""Trained networks as dynamical systems: the public names, loaded when first used."""

import importlib
from typing import Any

from interp._version import __version__

_WHERE = {
    "load": "interp.network",
    "dynamics": "interp.reading",
    "capture": "hooks.capture",
    "rollout": "hooks.dynamics",
    "Dynamics": "hooks.dynamics",
    "Trajectory": "hooks.trajectory",
    "find_fixed_points": "analyses.maps.fixed_points",
    "find_cycles": "analyses.maps.cycles",
    "classify": "analyses.maps.stability",
    "index_sum": "analyses.maps.index",
    "certify": "analyses.maps.certificates",
    "jacobian_spectra": "analyses.maps.jacobian_spectra",
    "lyapunov_spectrum": "analyses.maps.lyapunov",
    "find_slow_points": "analyses.maps.slow_points",
    "chart_continuum": "analyses.maps.continua",
    "continue_fixed_points": "analyses.maps.continuation",
    "basins": "analyses.maps.basins",
    "plane_basins": "analyses.maps.basins",
    "edge_state": "analyses.maps.boundaries",
    "separatrix": "analyses.maps.boundaries",
    "minimal_kicks": "analyses.maps.kicks",
    "certify_absence": "analyses.maps.absence",
    "certify_contraction": "analyses.maps.contraction",
    "falsify_lyapunov_function": "analyses.maps.lyapunov_functions",
    "exact_fixed_points": "analyses.symbols.exact_fixed_points",
    "return_map": "hooks.section",
    "along_drive": "hooks.families.path",
    "along_weights": "hooks.families.path",
    "report": "interp.plans",
    "zero_one_test": "analyses.series.zero_one",
    "divergence_rate": "analyses.series.divergence",
    "covariant_vectors": "analyses.maps.covariant_vectors",
    "alignment": "analyses.maps.alignment",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'interp' has no attribute {name!r}; it has {', '.join(_WHERE)}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
