"""Trained networks as dynamical systems: the public names, loaded when first used."""

import importlib
from typing import Any

from interp._version import __version__

_WHERE = {
    "adaptive": "hooks.families.flow",
    "alignment": "analyses.maps.alignment",
    "along_drive": "hooks.families.path",
    "along_weights": "hooks.families.path",
    "audit_spectrum": "analyses.maps.stated_spectrum",
    "basins": "analyses.maps.basins",
    "box_dimensions": "analyses.trajectories.box_dimensions",
    "capture": "hooks.capture",
    "certify": "analyses.maps.certificates",
    "certify_absence": "analyses.maps.absence",
    "certify_contraction": "analyses.maps.contraction",
    "chart_continuum": "analyses.maps.continua",
    "classify": "analyses.maps.stability",
    "closed_loop": "hooks.families.closed_loop",
    "compare_graphs": "analyses.symbols.graph_comparison",
    "compressed_complexity": "analyses.series.complexity",
    "continue_fixed_points": "analyses.maps.continuation",
    "controlled_flow": "hooks.families.controlled",
    "covariant_vectors": "analyses.maps.covariant_vectors",
    "divergence_rate": "analyses.series.divergence",
    "Dynamics": "hooks.dynamics",
    "dynamics": "interp.reading",
    "dynamix": "hooks.families.dynamix",
    "edge_state": "analyses.maps.boundaries",
    "entropy_rate": "analyses.symbols.entropy",
    "exact_cycles": "analyses.symbols.exact_cycles",
    "exact_fixed_points": "analyses.symbols.exact_fixed_points",
    "exponent_carriers": "analyses.maps.carriers",
    "exponent_curve": "analyses.maps.exponent_curve",
    "falsify_lyapunov_function": "analyses.maps.lyapunov_functions",
    "find_cycles": "analyses.maps.cycles",
    "find_exact_cycles": "analyses.symbols.word_search",
    "find_fixed_points": "analyses.maps.fixed_points",
    "find_slow_points": "analyses.maps.slow_points",
    "fit_almost_linear": "analyses.symbols.almost_linear_fit",
    "flow": "hooks.families.flow",
    "forbidden_words": "analyses.symbols.forbidden_words",
    "forcing_strength": "analyses.maps.forcing_strength",
    "foreign": "hooks.families.foreign",
    "from_jax": "hooks.families.foreign",
    "gradient_growth": "analyses.maps.gradient_growth",
    "index_sum": "analyses.maps.index",
    "jacobian_spectra": "analyses.maps.jacobian_spectra",
    "lempel_ziv": "analyses.series.complexity",
    "linear_readout": "analyses.trajectories.linear_readout",
    "liquid": "hooks.families.liquid",
    "LiquidTimeConstant": "hooks.families.liquid",
    "load": "interp.network",
    "long_range": "analyses.series.long_range",
    "loss_slices": "analyses.maps.loss_slices",
    "lyapunov_spectrum": "analyses.maps.lyapunov",
    "markov_order": "analyses.symbols.markov_order",
    "mfdfa": "analyses.series.multifractal",
    "minimal_kicks": "analyses.maps.kicks",
    "ordinal_patterns": "analyses.series.ordinal",
    "plane_basins": "analyses.maps.basins",
    "power_spectrum_distance": "analyses.trajectories.power_spectrum_distance",
    "prediction_excess": "analyses.symbols.prediction_excess",
    "record_stream": "hooks.stack",
    "region_table": "analyses.symbols.region_table",
    "regions": "analyses.symbols.regions",
    "report": "interp.plans",
    "return_map": "hooks.section",
    "rollout": "hooks.dynamics",
    "sample_entropy": "analyses.series.complexity",
    "separatrix": "analyses.maps.boundaries",
    "stack_of": "hooks.stack",
    "state_space_divergence": "analyses.trajectories.state_space_divergence",
    "subshift_entropy": "analyses.symbols.subshift",
    "surprisal": "hooks.surprisal",
    "swap_test": "analyses.symbols.swap_test",
    "symbolic_graph": "analyses.symbols.symbolic_graph",
    "TeacherForcing": "analyses.symbols.almost_linear_fit",
    "token_operators": "analyses.trajectories.token_operators",
    "Trajectory": "hooks.trajectory",
    "trajectory_bounds": "analyses.trajectories.bounds",
    "valid_prediction_time": "analyses.trajectories.prediction_time",
    "wavelet_leaders": "analyses.series.wavelet_leaders",
    "windowed_products": "analyses.maps.windowed_products",
    "zero_one_test": "analyses.series.zero_one",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'interp' has no attribute {name!r}; it has {', '.join(_WHERE)}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
