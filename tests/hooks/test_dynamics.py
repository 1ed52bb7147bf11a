import numpy as np
import pytest
import torch

from hooks.contract import check_dynamics, check_replay
from hooks.dynamics import Dynamics, as_drive, as_states, rollout
from hooks.errors import ContractError, DrivenError, InputError
from hooks.tangent import drive_jacobian, jacobian, push
from hooks.trajectory import Trajectory


def rotation(angle):
    turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=torch.float64)
    return Dynamics(lambda states, _: states @ turn.T, dim=2, name="rotation")


def shifted():
    return Dynamics(lambda states, drive: 0.5 * states + drive, dim=2, driven=True, inputs=2, name="leaky sum")


def test_rollout_of_a_rotation_is_the_rotation():
    states = rollout(rotation(0.1), [1.0, 0.0], steps=50).states[0]
    angles = 0.1 * np.arange(51)
    assert np.abs(states - np.stack([np.cos(angles), np.sin(angles)], 1)).max() < 1e-14  # 50 roundings


def test_drives_move_state_t_to_state_t_plus_one():
    drives = np.arange(6.0).reshape(3, 2)
    trajectory = rollout(shifted(), [0.0, 0.0], drives=drives)
    assert trajectory.states[0].tolist() == [[0, 0], [0, 1], [2, 3.5], [5, 6.75]]
    assert check_replay(shifted(), trajectory) == 0.0
    late = rollout(shifted(), [0.0, 0.0], drives=drives, burn_in=1)
    assert np.array_equal(late.states[0], trajectory.states[0, 1:])


def test_no_steps_is_the_start_alone():
    assert rollout(rotation(0.1), [1.0, 0.0], steps=0).states.tolist() == [[[1.0, 0.0]]]


def test_a_run_that_overflows_is_cut_where_it_does():
    doubling = Dynamics(lambda states, _: states * 1e200, dim=1, name="doubling")
    trajectory = rollout(doubling, [[1.0], [0.0]], steps=3)
    assert trajectory.lengths.tolist() == [2, 4]
    assert np.isnan(trajectory.states[0, 2:]).all()
    assert len(trajectory.pairs()[0]) == 1 + 3


def test_arrays_become_tensors_for_a_map_without_a_drive_vector():
    scaled = Dynamics(lambda states, drive: drive * states, dim=2, driven=True)
    assert torch.equal(scaled.hold(np.full((1, 2), 3.0))(torch.ones(1, 2).double()), 3 * torch.ones(1, 2).double())
    assert as_drive(scaled, np.zeros(2, dtype=np.float32)).dtype == torch.float64
    assert as_drive(scaled, np.zeros(2, dtype=np.int32)).dtype == torch.int32
    assert as_drive(scaled, 7) == 7


def test_hold_freezes_a_drive_and_iterated_repeats():
    held = shifted().hold([1.0, 0.0])
    assert not held.driven
    states = torch.zeros(1, 2, dtype=torch.float64)
    assert held(states).tolist() == [[1.0, 0.0]]
    assert held.iterated(3)(states).tolist() == [[1.75, 0.0]]
    assert shifted().iterated(1) is not None and shifted().iterated(2).driven


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: shifted()(torch.zeros(1, 2)), DrivenError, "dynamics.hold"),
        (lambda: rotation(0.1).hold([0.0]), DrivenError, "takes no drive"),
        (lambda: shifted().hold(np.zeros((3, 2))), InputError, "one drive"),
        (lambda: shifted().hold([1.0]), InputError, "2 wide"),
        (lambda: shifted().hold([np.nan, 0]), InputError, "not finite"),
        (lambda: rotation(0.1).iterated(0), InputError, "at least once"),
        (lambda: as_states(rotation(0.1), np.zeros((4, 3))), InputError, r"\(batch, 2\)"),
        (lambda: as_states(rotation(0.1), [np.nan, 0.0]), InputError, "1 of the 1 states"),
        (lambda: rollout(rotation(0.1), [0.0, 0.0]), InputError, "how many steps"),
        (lambda: rollout(shifted(), [0.0, 0.0], steps=3), DrivenError, "rollout without drives"),
        (lambda: rollout(rotation(0.1), [0.0, 0.0], drives=np.zeros((2, 2))), DrivenError, "takes no drive"),
        (
            lambda: rollout(shifted(), np.zeros((2, 2)), drives=np.zeros((3, 4, 2))),
            InputError,
            "drives for 2 starts",
        ),
        (lambda: rollout(shifted(), [0.0, 0.0], drives=np.zeros((3, 2)), steps=4), InputError, "4 steps"),
        (
            lambda: drive_jacobian(rotation(0.1), torch.zeros(1, 2), torch.zeros(1)),
            DrivenError,
            "no drive vector",
        ),
        (lambda: push(rotation(0.1), torch.zeros(1, 2), torch.zeros(1, 3, 1)), InputError, "tangents"),
        (lambda: check_dynamics(shifted(), np.zeros((2, 2))), DrivenError, "pass drive="),
    ],
)
def test_misuse_says_what_to_do(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_autograd_and_forward_mode_give_the_rotation_matrix():
    dynamics, states = rotation(0.3), torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    turn = torch.tensor([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    assert (jacobian(dynamics, states) - turn).abs().max() < 1e-15
    after, carried = push(dynamics, states, torch.eye(2).double().expand(4, 2, 2))
    assert torch.equal(after, dynamics(states)) and (carried - turn).abs().max() < 1e-15
    assert jacobian(dynamics, states[:0]).shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("step", "slope"),
    [
        (lambda states, _: torch.ones_like(states), [[0, 0], [0, 0]]),
        (lambda states, _: torch.ones(len(states), 2, dtype=torch.float64), [[0, 0], [0, 0]]),
        (lambda states, _: 2 * states.detach(), [[0, 0], [0, 0]]),
        (lambda states, _: torch.cat([states[:, :1].detach(), 3 * states[:, 1:]], 1), [[0, 0], [0, 3]]),
    ],
)
def test_what_ignores_its_state_has_slope_zero(step, slope):
    dynamics, states = Dynamics(step, dim=2), torch.ones(3, 2).double()
    tangents = torch.tensor([[1.0, 2, 3], [4, 5, 6]]).double().expand(3, 2, 3)
    expected = torch.tensor(slope).double()
    assert torch.equal(jacobian(dynamics, states), expected.expand(3, 2, 2))
    for given in (states, states[:1].expand(3, 2)):
        after, carried = push(dynamics, given, tangents)
        assert torch.equal(after, dynamics(states)) and torch.equal(carried, expected @ tangents)
    if "detach" not in step.__code__.co_names:
        check_dynamics(dynamics, states)


def test_a_draw_that_changes_nothing_is_pushed_through():
    dynamics = Dynamics(lambda states, _: states + 0 * torch.randn_like(states), dim=2)
    states, tangents = torch.ones(3, 2).double(), torch.eye(2).double().expand(3, 2, 2)
    assert torch.equal(push(dynamics, states, tangents)[1], tangents)
    check_dynamics(dynamics, states)


def broken(step, **fields):
    return Dynamics(step, dim=2, name="broken", **fields)


@pytest.mark.parametrize(
    ("dynamics", "message"),
    [
        (broken(lambda states, _: states[:, :1]), "keep shape and dtype"),
        (broken(lambda states, _: states.float()), "keep shape and dtype"),
        (broken(lambda states, _: states.mul_(0.5)), "modifies its input"),
        (broken(lambda states, _: states / 0), "not finite"),
        (
            broken(lambda states, _: states + torch.rand_like(states)),
            "not deterministic. The noise is drawn in the step itself",
        ),
        (
            broken(lambda states, _: states - states.mean(0)),
            "depends on the batch. Batch statistics do this, in eval mode too",
        ),
        (
            broken(lambda states, _: states**2, jacobian=lambda s, _: torch.eye(2).double().expand(len(s), 2, 2)),
            "central difference",
        ),
        (
            broken(lambda states, _: 3 * states, box=lambda _: (-torch.ones(2).double(), torch.ones(2).double())),
            "trapping box",
        ),
    ],
)
def test_contract_names_what_is_broken(dynamics, message):
    states = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(ContractError, match=message):
        check_dynamics(dynamics, states)


def test_contract_accepts_a_kink():
    check_dynamics(Dynamics(lambda states, _: torch.relu(states), dim=1), torch.zeros(3, 1).double())


def test_replay_of_another_network_is_refused():
    with pytest.raises(ContractError, match="not of the same network"):
        check_replay(rotation(0.2), rollout(rotation(0.1), [1.0, 0.0], steps=5))


def test_trajectory_selects_projects_and_never_pairs_across_runs():
    states = np.arange(12.0).reshape(2, 3, 2)
    states[1, 2] = np.nan
    trajectory = Trajectory(states, lengths=np.array([3, 2]), labels={"bit": np.array([0, 1])})
    assert trajectory.points().shape == (5, 2)
    now, after = trajectory.pairs()
    assert now.tolist() == [[0, 1], [2, 3], [6, 7]] and (after - now == 2).all()
    assert trajectory.select(bit=1).points().tolist() == [[6, 7], [8, 9]]
    flat = trajectory.project(np.array([[1.0], [0.0]]), np.array([1.0, 0.0]))
    assert flat.points()[:, 0].tolist() == [-1, 1, 3, 5, 7]
    with pytest.raises(ValueError, match="read-only"):
        trajectory.states[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"states": np.zeros((2, 3))}, "three axes"),
        ({"states": np.full((1, 2, 1), np.inf)}, "run 0 at step 0"),
        ({"states": np.zeros((2, 3, 1)), "lengths": np.array([3, 4])}, "1 to 3 steps"),
        ({"states": np.zeros((2, 3, 1)), "labels": {"x": np.zeros(3)}}, "label 'x'"),
        ({"states": np.zeros((2, 3, 1)), "drives": np.zeros((2, 3, 1))}, "one a transition"),
    ],
)
def test_trajectory_refuses_what_does_not_fit(fields, message):
    with pytest.raises(InputError, match=message):
        Trajectory(**fields)
