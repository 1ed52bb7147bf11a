"""Each sentence says what the numbers say, and what cut them short."""

from itertools import islice

import numpy as np
import torch

from analyses.maps.certificates import certify
from analyses.maps.cycles import find_cycles
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.geometry import linear_geometry
from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.maps.transitions import transitions
from analyses.result import Null
from analyses.trajectories.rotation import Rotations
from hooks.dynamics import Dynamics
from interp.findings import account, discoveries, exponent_sentence, mechanism_sentence, memory_sentence, rest_sentence
from tests.known import linear, rolled_tanh


def only(states):
    """A budget of so many states of a long loop."""
    return lambda loop, total: islice(loop, states)


def latch():
    return Dynamics(lambda x, u: torch.tanh(2 * x + u), dim=1, driven=True, inputs=1, name="latch")


def test_exponents_of_a_run_that_ended_early_say_so():
    half = linear([[0.5]])
    whole = lyapunov_spectrum(half, [[1.0]], steps=100, burn_in=10)
    cut = lyapunov_spectrum(half, [[1.0]], steps=100, burn_in=10, watch=only(17))
    assert "ran out of time" not in exponent_sentence(whole)
    assert "The run ran out of time: these are means over its first 7 steps after the burn-in" in exponent_sentence(cut)


def test_a_search_that_ran_out_of_time_says_so_first_and_last():
    tanh = rolled_tanh(3)
    cut = find_fixed_points(tanh, 64, rounds=0, watch=only(3))
    sentences = account({"fixed points": cut})
    assert sentences[0].startswith("The search for fixed points ran out of time; as far as it went: ")
    assert any("the search ran out of time on them, so points may be missing" in sentence for sentence in sentences)
    whole = account({"fixed points": find_fixed_points(tanh, 64)})
    assert not any("ran out of time" in sentence for sentence in whole)


def test_starts_that_did_not_converge_are_told_from_those_that_had_no_time():
    drift = Dynamics(lambda x, _: x + 1, dim=1, name="drift")
    sentences = account({"fixed points": find_fixed_points(drift, np.zeros((4, 1)))})
    assert sentences[-1] == "Not shown: what 4 of 4 starts were drawn to; they did not converge."


def test_only_a_driven_map_has_a_held_drive():
    half = linear([[0.5]])
    points = find_fixed_points(half, [[0.3]])
    free = linear_geometry(half, points.points)
    driven = Dynamics(lambda x, u: x / 2 + u, dim=1, driven=True, inputs=1)
    held = linear_geometry(driven, points.points, drive=[0.0])
    assert memory_sentence(points, None, free) == "It keeps no memory: one stable fixed point of 1."
    assert (
        memory_sentence(points, None, held) == "Under the held drive it keeps no memory: one stable fixed point of 1."
    )
    assert rest_sentence(points, [], free).startswith("1 fixed point. No index sum could be taken")
    assert rest_sentence(points, [], held).startswith("1 fixed point under the held drive.")


def test_no_cycle_is_denied_that_was_not_sought():
    saddle = find_fixed_points(linear([[2.0]]), [[0.3]])
    assert memory_sentence(saddle, None) == "No memory of this kind was found: of 1 fixed point none is stable."
    sought = find_cycles(linear([[2.0]]), [[0.3]], periods=(2, 3))
    assert memory_sentence(saddle, sought).endswith("none is stable, and no stable cycle of period 2, 3.")


def test_a_list_that_misses_a_point_says_so_and_blames_the_points_only_when_they_are_not_proved():
    tanh = Dynamics(lambda x, _: torch.tanh(2 * x), dim=1, box=lambda _: (-torch.ones(1), torch.ones(1)))
    short = find_fixed_points(tanh, [[0.01]], rounds=0)  # the rest at 0 alone, whose index is -1
    assert "Their index sum is -1, not 1: at least one fixed point is missing, or one of these" in rest_sentence(
        short, []
    )
    assert rest_sentence(short, [certify(tanh, short.points)]).endswith("at least one fixed point is missing.")


def test_attractors_beyond_the_known_points_and_cycles_are_an_open_question():
    """Two runs rest at +-0.9575, and the list of fixed points holds only one of them."""
    held = latch().hold([0.0])
    points = find_fixed_points(held, [[0.9]], rounds=0)
    runs = lyapunov_spectrum(held, [[0.9], [-0.9]], steps=100, burn_in=50)
    doubt = "Not shown: what all attractors are; the runs of the exponents end on 2, and of stable fixed points and cycles 1 is"
    assert any(sentence.startswith(doubt) for sentence in account({"points": points, "exponents": runs}))
    both = find_fixed_points(held, [[0.9], [-0.9]], rounds=0)
    assert not any(sentence.startswith("Not shown") for sentence in account({"points": both, "exponents": runs}))


def test_a_pulse_without_effect_sets_no_value():
    memories = [np.array([[0.9575040240772687]]), np.array([[-0.9575040240772687]])]
    strong = transitions(latch(), memories, [[9.0], [-9.0]], rest=[0.0])
    idle = transitions(latch(), memories, [[9.0], [0.01]], rest=[0.0])
    assert "Every pulse sets a value" in mechanism_sentence(strong)
    assert "Every pulse sets a value" not in mechanism_sentence(idle) and "a finite automaton" in mechanism_sentence(
        idle
    )


def asked(*nulls):
    return Rotations(np.zeros(1), 0.0, np.zeros(1), 3, nulls, ())


def null(p, statistic="", name="shuffle", draws=999):
    """A null whose p is the one asked for: so many draws, of which the share lies as far out as the observed value."""
    beyond = round(p * (1 + draws)) - 1
    values = np.concatenate([np.full(beyond, 2.0), np.zeros(draws - beyond)])
    return Null(name, "nothing", "network", values, 1.0, statistic)


def test_a_number_has_to_beat_all_nulls_of_its_name_and_the_page_is_controlled():
    # the rule by hand, from the largest p down: q = 5 p / rank, and no more than the q above it
    ps = (0.001, 0.008, 0.039, 0.041, 0.4)
    page = {
        "one": asked(*(null(p, f"number {p}") for p in ps[:3])),
        "two": asked(*(null(p, f"number {p}") for p in ps[3:])),
    }
    found = discoveries(page)
    assert [one.p for one in found] == [*ps]
    assert np.allclose([one.q for one in found], [0.005, 0.02, 0.05125, 0.05125, 0.4], atol=1e-12)
    assert [one.found for one in found] == [True, True, False, False, False]
    both = discoveries({"one": asked(null(0.001, "a"), null(0.3, "a", "twins"))})
    assert len(both) == 1 and both[0].p == 0.3 and both[0].title == "one" and both[0].statistic == "a"


def test_nulls_without_a_statistic_are_asked_one_by_one_and_a_page_without_nulls_has_none():
    page = {"one": asked(null(0.001), null(0.5)), "none": asked()}
    assert [(one.statistic, one.p) for one in discoveries(page)] == [("shuffle", 0.001), ("shuffle", 0.5)]
    assert discoveries({"none": asked()}) == () and discoveries({}) == ()
