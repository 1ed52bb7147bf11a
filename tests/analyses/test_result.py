import dataclasses
import importlib
import json
import math
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import analyses
from analyses.maps.absence import certify_absence
from analyses.maps.alignment import alignment
from analyses.maps.basins import basins, plane_basins
from analyses.maps.boundaries import edge_state, separatrix
from analyses.maps.certificates import certify
from analyses.maps.continua import chart_continuum
from analyses.maps.continuation import continue_fixed_points
from analyses.maps.contraction import certify_contraction
from analyses.maps.covariant_vectors import covariant_vectors
from analyses.maps.cycles import find_cycles
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.geometry import linear_geometry
from analyses.maps.index import index_sum
from analyses.maps.jacobian_spectra import jacobian_spectra
from analyses.maps.kicks import minimal_kicks
from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.maps.lyapunov_functions import falsify_lyapunov_function
from analyses.maps.slow_points import find_slow_points
from analyses.maps.stability import classify
from analyses.maps.transitions import transitions
from analyses.result import Check, Null, Outcome, Result, counted
from analyses.series.divergence import divergence_rate
from analyses.series.zero_one import zero_one_test
from analyses.symbols.exact_fixed_points import exact_fixed_points
from analyses.trajectories.stream_geometry import stream_geometry
from hooks.dynamics import Dynamics, rollout
from hooks.families import PiecewiseLinear, recurrent
from tests.known import linear, logistic, rolled_tanh


def every_kind():
    for found in pkgutil.walk_packages(analyses.__path__, "analyses."):
        importlib.import_module(found.name)
    return {kind.__name__: kind for kind in Result.__subclasses__() if kind.__module__.startswith("analyses.")}


@pytest.fixture(scope="module")
def specimens():
    """Two of each kind: one with something found, one empty or with values that are not finite.

    A test file of an analysis may give its own: a function ``specimens`` that returns the list.
    """
    here = Path(__file__).parent
    files = sorted(path.relative_to(here).with_suffix("") for path in here.glob("*/test_*.py"))
    modules = [importlib.import_module(".".join(("tests.analyses", *file.parts))) for file in files]
    return first_specimens() + [
        result for module in modules if hasattr(module, "specimens") for result in module.specimens()
    ]


def first_specimens():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gru = recurrent(nn.GRU(2, 4), readout=nn.Linear(4, 1))
    held, map4 = gru.hold(torch.zeros(2)), rolled_tanh(4)
    trajectory = rollout(
        gru, torch.zeros(3, 4), drives=torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0))
    )
    points, none = find_fixed_points(map4, 64), find_fixed_points(linear([[1.0]]), np.zeros((0, 1)))
    bit, half = Dynamics(lambda x, _: torch.tanh(2 * x), dim=1), linear(0.5 * np.eye(2))
    two, rest = [[[0.9575040240772687]], [[-0.9575040240772687]]], [[[0.0, 0.0]]]
    tent, line = (
        PiecewiseLinear(*(torch.tensor(w) for w in weights), relu=1)
        for weights in (([1.25], [[-3.25]], [1.0]), ([0.0], [[1.0]], [1.0]))
    )

    def stopped(states, total):
        return iter(())

    at = find_fixed_points(held, 16).points
    return [
        points, none,
        find_cycles(linear([[-1.0]]), [[0.0]], periods=(2,)), find_cycles(map4, 32, periods=(2,)),
        classify(points), classify(none),
        certify(map4, points.points), certify(linear([[2.0]]), [[0.5]]),
        index_sum(map4, points.points), index_sum(linear([[1.0]]), [[0.0]]),
        jacobian_spectra(held, at), jacobian_spectra(linear([[0.0]]), [[1.0]]),
        lyapunov_spectrum(held, at, steps=8), lyapunov_spectrum(linear([[0.0]]), [[1.0]], steps=8),
        linear_geometry(gru, at, drive=[0.0, 0.0]), linear_geometry(linear([[0.5]]), [[0.0]]),
        transitions(gru, [at], [[1.0, 0.0]], rest=[0.0, 0.0]), transitions(gru, [at], np.zeros((0, 2)), rest=[0.0, 0.0]),
        find_slow_points(Dynamics(lambda x, _: x + 1e-3, dim=1), [[0.0], [0.5]]),
        find_slow_points(linear([[0.5]]), np.zeros((0, 1))),
        chart_continuum(linear([[1.0, 0.0], [0.0, 0.5]]), [0.0, 0.0], box=(-1.0, 1.0)), chart_continuum(linear([[0.5]]), [0.0]),
        basins(bit, [[0.5], [-0.5]]), basins(linear([[1.0]]), np.zeros((0, 1))),
        plane_basins(half, rest, basis=np.eye(2), resolution=3),
        plane_basins(linear(np.diag([0.5, 2.0])), rest, basis=np.eye(2), resolution=3, steps=20),
        edge_state(bit, [1.0], [-1.0], attractors=two), edge_state(bit, [1.0], [-1.0], attractors=two, watch=stopped),
        separatrix(bit, [0.0], attractors=two), separatrix(linear([[2.0]]), [0.0], attractors=[[[0.0]]], extent=1.0),
        minimal_kicks(bit, two, directions=4), minimal_kicks(half, rest),
        certify_absence(map4, splits=100), certify_absence(linear([[2.0]]), (0.5, 1.0)),
        certify_contraction(linear([[0.5]]), (-1.0, 1.0)), certify_contraction(linear([[1.0]]), (-1.0, 1.0), watch=stopped),
        falsify_lyapunov_function(linear([[0.5]]), lambda x: (x * x)[:, 0], box=(-1.0, 1.0)),
        falsify_lyapunov_function(linear([[0.5]]), lambda x: torch.sqrt(x[:, 0]), box=(-1.0, 1.0), equilibrium=[0.0]),
        continue_fixed_points(lambda p: linear([[p]]), [[0.0]], at=0.5, span=(0.0, 2.0)),
        continue_fixed_points(lambda p: linear([[p]]), np.zeros((0, 1)), at=0.5, span=(0.0, 2.0)),
        exact_fixed_points(tent), exact_fixed_points(line),
        stream_geometry(trajectory), stream_geometry(rollout(linear([[1.0]]), [[2.0]], steps=3)),
        zero_one_test(np.random.default_rng(0).standard_normal(300)), zero_one_test(np.zeros((2, 5))),
        divergence_rate(rollout(logistic(), [[0.3]], steps=999).states[0]), divergence_rate(np.zeros(5)),
        covariant_vectors(linear([[2.0, 1.0], [0.0, 0.5]]), [[0.0, 0.0]], steps=20),
        covariant_vectors(half, [[0.0, 0.0]], steps=20, watch=stopped),
        alignment(linear(np.diag([2.0, 0.5])), [[1.0, 0.0]], steps=120),
        alignment(linear(np.diag([0.5, 0.0])), rest[0], steps=9),
    ]  # fmt: skip


def test_there_is_a_specimen_of_every_kind(specimens):
    assert {type(result).__name__ for result in specimens} == set(every_kind())


def test_every_result_survives_json_and_draws_on_blank_axes(specimens):
    from matplotlib.figure import Figure

    for result in specimens:
        written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        again = type(result).from_dict(written)
        for field in dataclasses.fields(result):
            assert_same(
                getattr(result, field.name), getattr(again, field.name), f"{type(result).__name__}.{field.name}"
            )
        assert again.summary() == result.summary() and result.summary().strip()
        axes = Figure().add_subplot()
        assert again.plot(axes) is axes
        axes.figure.canvas.draw()


def assert_same(one, other, name):
    assert type(one) is type(other), name
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.shape == other.shape, name
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, float) and math.isnan(one):
        assert math.isnan(other), name
    elif isinstance(one, Null):
        assert_same(tuple(vars(one).values()), tuple(vars(other).values()), name)
    elif isinstance(one, tuple):
        assert len(one) == len(other), name
        for i, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{name}[{i}]")
    else:
        assert one == other, name


def test_results_are_frozen_and_of_another_kind_are_refused(specimens):
    result = specimens[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.hits = None
    with pytest.raises(ValueError, match="this reads Stability of schema 1, but FixedPoints of schema 1 came"):
        every_kind()["Stability"].from_dict(result.to_dict())


def test_a_check_that_is_not_finite_fails():
    assert Check("sum", 1.0, 1.0 + 1e-9, 1e-8).passed
    assert not Check("sum", 1.0, float("nan"), 1e-8).passed
    assert not Check("sum", 1.0, float("inf"), 1e-8).passed


def test_null_gives_the_share_of_draws_at_least_as_extreme():
    draws = np.arange(1.0, 100.0)  # median 50
    far = Null("shuffle", "order does not matter", "network", draws, 99.5)
    assert far.p == 1 / 100 and far.beaten
    assert Null("shuffle", "order does not matter", "network", draws, 50.0).p == 1.0


def test_outcomes_read_as_sentences_and_numbers_agree_with_their_noun():
    assert f"3 {Outcome.OUT_OF_STEPS.value}" == "3 ran out of steps"
    assert [counted(n, "cycle") for n in (0, 1, 2)] == ["0 cycles", "1 cycle", "2 cycles"]
