from dataclasses import fields, replace
from itertools import islice

import numpy as np
import pytest
import torch

from analyses._densities import Bins
from analyses.result import Outcome
from analyses.symbols._orbit_divergence import divergence_from
from analyses.symbols._teacher_forcing import Room, Weights, loss_and_gradient
from analyses.symbols._training import Layout, Recording, TeacherForcing, forcing_needed, orbits
from analyses.symbols.almost_linear_fit import AlmostLinearFit, fit_almost_linear
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.trajectory import Trajectory

FORMS = ("almost linear", "shallow", "clipped shallow")
QUICK = TeacherForcing(steps=1500, every=1, length=2, learning_rates=(0.3, 1e-3), noise=0.0)
FEW = TeacherForcing(steps=12, every=3, length=7, batch=2, noise=0.1)


def tent():
    """x' = 1 + 1.8 x below 0 and 1 - 1.8 x above: chaotic, of slope 1.8 everywhere."""
    return PiecewiseLinear(*(torch.tensor(w, dtype=torch.float64) for w in ([1.8], [[-3.6]], [1.0])), relu=1)


def tent_orbit(steps=1000):
    return rollout(tent().dynamics(), [[0.3]], steps=steps - 1).states[0]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def specimens():
    recipe = replace(FEW, steps=4, learning_rates=(1e9, 1e9))
    diverged = fit_almost_linear(noise(30, 2), 3, (1, 2), runs=2, recipe=recipe, orbit=200)
    return [fit_almost_linear(tent_orbit(100), 2, (0, 1), runs=2, recipe=FEW, select_every=6, orbit=50), diverged]


def step_by_autograd(form, parts, relu, z):
    """The next states of one model from (batch, latent), by the papers' equations."""
    if form == "almost linear":
        cut = z.shape[1] - relu
        r = torch.cat([z[:, :cut], torch.relu(z[:, cut:])], 1)
    else:
        r = torch.relu(z @ parts["V"].T + parts["g"])
        r = r - torch.relu(z @ parts["V"].T) if form == "clipped shallow" else r
    return parts["A"] * z + r @ parts["W"].T + parts["h"]


def loss_by_autograd(form, parts, relu, x, every, alpha):
    """Teacher forcing as it is described, one model: x (steps + 1, batch, outputs)."""
    outputs, squares = x.shape[2], []
    z = torch.cat([x[0], x[0] @ parts["L"].T], 1)
    for t in range(len(x) - 1):
        if t and t % every == 0:
            z = torch.cat([(1 - alpha) * z[:, :outputs] + alpha * x[t], z[:, outputs:]], 1)
        z = step_by_autograd(form, parts, relu, z)
        squares.append((z[:, :outputs] - x[t + 1]).square().mean())
    return torch.stack(squares).mean()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("every", "alpha"), [(5, (1.0, 1.0, 1.0)), (1, (0.3, 0.5, 1.0)), (4, (0.0, 0.5, 1.0))])
def test_the_gradient_equals_that_of_autograd(form, every, alpha):
    relu = (0, 2, 6) if form == "almost linear" else (5, 5, 5)
    layout = Layout(form, 2, 6, relu, torch.float64)
    generator = torch.Generator().manual_seed(0)
    rows = 0.3 * torch.randn(layout.drawn(generator).shape, generator=generator, dtype=torch.float64)
    x = torch.randn(24, 3, 4, 2, generator=generator, dtype=torch.float64)  # steps, models, batch, outputs
    alphas, weights = torch.tensor(alpha, dtype=torch.float64), layout.weights(rows)
    room = Room.of(weights, 2, 23, 4)
    data = x.permute(3, 1, 0, 2)
    loss, slopes, by_start = loss_and_gradient(
        weights,
        layout.start(rows, x[0]),
        data[:, :, every:23:every],
        data[:, :, 1:],
        every=every,
        alpha=alphas,
        room=room,
    )
    gradient = layout.gradient(slopes, by_start[..., 2:].mT @ x[0])

    free = rows.clone().requires_grad_()
    parts = [{name: part[run] for name, part in layout.parts(free).items()} for run in range(3)]
    expected = torch.stack([
        loss_by_autograd(form, parts[run], relu[run], x[:, run], every, alpha[run]) for run in range(3)
    ])  # fmt: skip
    expected.sum().backward()
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=0)
    # rounding over 23 steps; rows are scaled by their own largest slope
    assert ((gradient - free.grad).abs() <= 1e-10 * free.grad.abs().amax(1, keepdim=True)).all()


def test_training_equals_a_plain_loop_of_autograd_and_radam():
    x, recipe = torch.from_numpy(noise(40, 2)), replace(FEW, learning_rates=(1e-1, 1e-2), regularisation=0.2)
    found = fit_almost_linear(x, 4, 2, runs=1, recipe=recipe, select_every=12, orbit=20, dtype=torch.float64)

    generator = torch.Generator().manual_seed(0)
    layout = Layout("almost linear", 2, 4, (2,), torch.float64)
    rows = layout.drawn(generator).requires_grad_()
    radam = torch.optim.RAdam([rows], lr=1e-1)
    decay = torch.optim.lr_scheduler.ExponentialLR(radam, (1e-2 / 1e-1) ** (1 / 11))
    for _ in range(12):
        begin = torch.randint(40 - 7, (1, 1, 2), generator=generator)[0, 0]
        clean = torch.stack([x[b : b + 8] for b in begin], 1)
        disturbed = clean.clone()
        disturbed[[0, 3, 6]] += 0.1 * torch.randn(2, 1, 3, 2, generator=generator, dtype=torch.float64)[:, 0].permute(
            1, 2, 0
        )
        parts = {name: part[0] for name, part in layout.parts(rows).items()}
        z = torch.cat([disturbed[0], disturbed[0] @ parts["L"].T], 1)
        squares = []
        for t in range(7):
            z = torch.cat([disturbed[t], z[:, 2:]], 1) if t in (3, 6) else z
            z = step_by_autograd("almost linear", parts, 2, z)
            squares.append((z[:, :2] - clean[t + 1]).square().mean())
        loss = torch.stack(squares).mean() + 0.2 * torch.relu(parts["A"] + parts["W"].diagonal() - 0.05).norm()
        radam.zero_grad()
        loss.backward()
        radam.step()
        decay.step()
    for name, part in layout.parts(rows.detach()).items():
        np.testing.assert_allclose(getattr(found, name), part.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_two_region_map_is_recovered_and_one_region_is_not_enough():
    x = tent_orbit()
    found = fit_almost_linear(x, 1, (0, 1), runs=4, recipe=QUICK, select_every=1500, orbit=1000, dtype=torch.float64)
    assert found.relu.tolist() == [0, 0, 0, 0, 1, 1, 1, 1] and found.outcomes == (Outcome.CONVERGED,) * 8
    # a line through a symmetric tent leaves its variance; with P = 1 and no noise nothing is left but the last learning rate
    assert (found.losses[-1, :4] > 0.1).all() and (found.losses[-1, 4:] < 1e-2).all()
    truth = np.array([1.8, -3.6, 1.0])
    weights = np.column_stack([found.A[4:, 0], found.W[4:, 0, 0], found.h[4:, 0]])
    np.testing.assert_allclose(weights, np.tile(truth, (4, 1)), atol=0.01)
    # orbits with these weights fill the interval as the recording does: within a few times a stretch's own divergence
    assert (found.smallest[4:] < 4 * found.reference).all() and (found.smallest[:4] > 5).all()
    assert found.recommended == 1 and all(check.passed for check in found.checks) and found.checks
    assert found.summary().startswith("8 of 8 runs gave a finite orbit; median divergence ")
    assert "P = 1 is the smallest" in found.summary()
    assert found.model(found.best).regions(torch.tensor([[-0.1], [0.1]])).tolist() == [[False], [True]]


@pytest.mark.parametrize("form", ["shallow", "clipped shallow"])
def test_a_hidden_layer_learns_the_two_region_map_under_annealed_forcing(form):
    recipe = replace(QUICK, length=3, alpha="annealed", learning_rates=(0.1, 1e-3))
    found = fit_almost_linear(
        tent_orbit(), 1, 6, runs=3, form=form, recipe=recipe, select_every=1500, orbit=1000, dtype=torch.float64
    )
    # a line gives a resting point, 14 nats away (above)
    assert (found.smallest < 1).all() and all(check.passed for check in found.checks)


@pytest.mark.parametrize("form", FORMS)
def test_the_model_runs_as_it_was_trained_and_starts_from_observations(form):
    """A hidden layer is lifted into the state: exact up to rounding."""
    recipe = replace(FEW, steps=3)
    x = 5 + 2 * noise(60, 2)
    found = fit_almost_linear(
        x, 4, 3, runs=2, form=form, recipe=recipe, orbit=10, standardise=True, dtype=torch.float64
    )
    np.testing.assert_allclose(found.shift, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scale, x.std(axis=0), rtol=1e-12)
    layout = Layout(form, 2, 4, (3, 3), torch.float64)
    names = ("A", "W", "h", "L", "V", "g")[: len(layout.shapes)]
    rows = torch.cat([torch.from_numpy(getattr(found, name)).flatten(1) for name in names], 1)
    data = torch.from_numpy((x - found.shift) / found.scale).T
    expected = orbits(rows, layout, Recording(data, torch.zeros(1), lambda _: np.zeros(2), 10, 1))
    for run in range(2):
        dynamics = found.model(run).dynamics()
        states = rollout(dynamics, found.start(run, x[:1]), steps=11).states[0]
        assert dynamics.readout is not None
        said = dynamics.readout(torch.tensor(states))
        np.testing.assert_allclose(said[2:], expected[run], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_a_resumed_fit_is_bit_for_bit_the_uninterrupted_one(form):
    alpha = "annealed" if form == "clipped shallow" else 1.0
    options = {
        "runs": 2, "form": form, "select_every": 5, "orbit": 20, "recipe": replace(FEW, alpha=alpha),
    }  # fmt: skip
    kept = []

    def until_seven(states, total):
        assert total == 12
        for state in islice(states, 7):
            kept.append(state)
            yield state

    x = noise(40, 2)
    whole = fit_almost_linear(x, 3, 2, **options)
    part = fit_almost_linear(x, 3, 2, watch=until_seven, **options)
    assert part.outcomes == (Outcome.OUT_OF_TIME,) * 2 and part.saves.tolist() == [5, 7]
    assert "2 of them stopped after 7 updates" in part.summary()
    again = fit_almost_linear(x, 3, 2, resume=kept[-1], **options)
    assert whole.saves.tolist() == [5, 10, 12]
    for field in fields(AlmostLinearFit):
        one, other = getattr(whole, field.name), getattr(again, field.name)
        assert np.array_equal(one, other), field.name
    shapes = [{name: getattr(value, "shape", None) for name, value in vars(state).items()} for state in kept]
    assert all(shape == shapes[0] for shape in shapes)
    for state in kept:  # a file of tensors holds none twice
        places = [value.data_ptr() for value in vars(state).values() if isinstance(value, torch.Tensor)]
        assert len(set(places)) == len(places) == 9


def test_stopping_before_the_first_update_judges_the_start():
    found = fit_almost_linear(noise(30, 1), 2, 1, runs=2, recipe=FEW, orbit=10, watch=lambda states, total: iter(()))
    assert found.saves.tolist() == [0] and found.outcomes == (Outcome.OUT_OF_TIME,) * 2
    assert np.isfinite(found.divergences).all() and not found.losses.any()


def test_runs_that_diverge_are_counted_and_named():
    found = specimens()[1]
    assert found.outcomes == (Outcome.DIVERGED,) * 4 and np.isinf(found.smallest).all()
    assert found.recommended == -1 and found.summary().startswith("0 of 4 runs gave a finite orbit")


def test_forcing_is_annealed_to_all_data_where_a_model_diverges():
    recipe = replace(FEW, every=1, alpha="annealed", learning_rates=(1e30, 1e30))
    found = fit_almost_linear(noise(30, 2), 3, 1, runs=1, recipe=recipe, orbit=50)
    assert found.outcomes == (Outcome.DIVERGED,)


def test_a_run_that_diverges_leaves_the_others_alone():
    layout = Layout("almost linear", 1, 2, (1, 1), torch.float64)
    rows = layout.drawn(torch.Generator().manual_seed(0))
    rows[0] = 1e300
    weights, room = layout.weights(rows), Room.of(layout.weights(rows), 1, 6, 3)
    data = torch.from_numpy(noise(1, 2, 7, 3))
    start = layout.start(rows, data[:, :, 0].movedim(0, -1))
    both = loss_and_gradient(
        weights, start, data[:, :, [3]], data[:, :, 1:], every=3, alpha=torch.ones(2).double(), room=room
    )
    assert torch.isfinite(both[1].W[1]).all() and not torch.isfinite(both[1].W[0]).all()


def test_sequences_stay_within_a_run():
    """Two resting runs: the start, near x' = x, has no error but across the border, where 1 of 10 steps would jump by 1."""
    states = np.stack([np.zeros((11, 1)), np.ones((11, 1))])
    recipe = replace(FEW, steps=1, every=1, length=10, batch=64, noise=0.0)
    assert fit_almost_linear(states, 1, 0, runs=1, recipe=recipe, orbit=5).losses[0, 0] < 1e-2
    padded = np.concatenate([states, np.full((2, 4, 1), np.nan)], axis=1)
    trajectory = Trajectory(padded, lengths=np.array([11, 11]))
    assert fit_almost_linear(trajectory, 1, 0, runs=1, recipe=recipe, orbit=5).losses[0, 0] < 1e-2


def test_forcing_needed_is_one_less_the_inverse_norm_of_a_linear_map():
    A = torch.tensor([[0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    W = torch.tensor([[[0.0, 4.0], [1.0, 0.0]], [[0.5, 0.0], [0.0, 0.2]]], dtype=torch.float64)
    weights = Weights(A, W, torch.zeros_like(A), torch.full_like(A, -torch.inf))
    room = Room.of(weights, 2, 5, 3)
    room.z.normal_(generator=torch.Generator().manual_seed(0))
    needed = forcing_needed(weights, room, torch.zeros(2, 2, 5, 3, dtype=torch.float64))
    torch.testing.assert_close(needed, torch.tensor([0.75, 0.0], dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_annealed_forcing_falls_from_one_and_stays_above_what_is_needed():
    kept = []

    def watch(states, total):
        for state in states:
            kept.append(state.alpha)
            yield state

    recipe = replace(FEW, steps=21, every=1, alpha="annealed")
    fit_almost_linear(noise(40, 2), 2, 2, runs=1, recipe=recipe, orbit=10, dtype=torch.float64, watch=watch)
    # five updates of at most a thousandth of the way to the estimate, which is at least 0
    assert 0.999**5 - 1e-12 <= float(kept[-1]) < 1.0


def test_the_binned_divergence_is_that_of_dense_histograms():
    true, orbit = noise(400, 2), 0.7 * noise(300, 2, seed=1)
    ranges = [(low, high) for low, high in zip(true.min(axis=0), true.max(axis=0), strict=True)]
    dense = [np.histogramdd(states, Bins().per_axis, ranges)[0].reshape(-1) for states in (true, orbit)]
    p, q = (np.append(counts, len(states) - counts.sum()) for counts, states in zip(dense, (true, orbit), strict=True))
    p, q = (counts + Bins().smoothing for counts in (p, q))
    p, q = p / p.sum(), q / q.sum()
    same, other, none = divergence_from(true)(np.stack([true[:300], orbit, np.full((300, 2), np.nan)]))
    assert other == pytest.approx((p * np.log(p / q)).sum(), rel=1e-9) and none == np.inf
    assert 0 < same < other and divergence_from(true)(true[None])[0] == pytest.approx(0, abs=1e-12)


def test_the_mixture_divergence_beyond_five_coordinates_is_zero_on_itself_and_that_of_shifted_gaussians():
    true = np.zeros((50, 6))
    judge = divergence_from(true)
    assert judge(true[None])[0] == pytest.approx(0, abs=1e-9)
    # KL of unit Gaussians a distance 2 apart is 2; 1000 draws of it have standard error 2 / sqrt(1000)
    shifted = true + np.array([2.0, 0, 0, 0, 0, 0])
    assert judge(shifted[None])[0] == pytest.approx(2.0, abs=4 * 2 / 1000**0.5)


def test_a_constant_recording_is_reproduced():
    found = fit_almost_linear(np.full((30, 2), 7.0), 2, 0, runs=1, recipe=FEW, orbit=20, standardise=True)
    assert found.scale.tolist() == [1.0, 1.0] and found.shift.tolist() == [7.0, 7.0]


@pytest.mark.parametrize(
    ("data", "latent", "relu", "options", "message"),
    [
        (np.zeros(9), 2, 1, {}, r"a recording is \(steps, outputs\) or \(runs, steps, outputs\), but \(9,\) came"),
        ([[0.0], [np.nan]], 2, 1, {}, "the state of run 0 at step 1 is not finite"),
        (noise(30, 3), 2, 1, {}, "2 latent units can't read out 3 coordinates"),
        (noise(30, 1), 2, (1, 3), {}, r"from 0 to latent=2, but \(1, 3\) came"),
        (noise(30, 1), 2, (3, 4), {"form": "shallow"}, "share its size, at least 1, but relu="),
        (noise(7, 1), 2, 1, {}, "sequences of length=7 need a run of 8 steps, but the longest has 7"),
        (noise(30, 1), 2, 1, {"recipe": replace(FEW, every=0)}, "are at least 1"),
        (
            noise(30, 1),
            2,
            1,
            {"recipe": replace(FEW, alpha=1.5)},
            "alpha is a share from 0 to 1 or 'annealed', but 1.5",
        ),
        (noise(30, 1), 2, 1, {"recipe": replace(FEW, noise=-1.0)}, "learning rates are positive"),
        (
            noise(30, 1),
            2,
            1,
            {"form": "shallow", "recipe": replace(FEW, regularisation=1.0)},
            "the regulariser acts on",
        ),
    ],
)
def test_refusals(data, latent, relu, options, message):
    with pytest.raises(InputError, match=message):
        fit_almost_linear(data, latent, relu, runs=1, **{"recipe": FEW, **options})


def test_a_state_of_another_fit_is_refused():
    kept = []

    def watch(states, total):
        for state in states:
            kept.append(state)
            yield state

    fit_almost_linear(noise(30, 1), 2, 1, runs=1, recipe=FEW, orbit=5, watch=watch)
    with pytest.raises(InputError, match=r"the state to resume from has \(1, 9\) parameters and 1 saves"):
        fit_almost_linear(noise(30, 1), 3, 1, runs=1, recipe=FEW, orbit=5, resume=kept[0])
