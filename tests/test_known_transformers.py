"""Transformers written by hand: the toolkit finds the mechanism that was written, and nothing of it in scrambled twins."""

import numpy as np
import pytest
import torch

from analyses.result import Null
from analyses.trajectories.linear_readout import linear_readout
from analyses.trajectories.rotation import rotations
from hooks.families.residual import residual
from hooks.increments import increments
from hooks.stack import record_stream, stack_of
from hooks.tangent import jacobian
from hooks.trajectory import Trajectory
from tests.known_transformers import as_gpt2, depth_rotation, induction_copier, scrambled, share_counter, texts

TWINS = 19  # the fewest that allow p = 0.05
OTHERS = 8  # twins that are asked whether they are told from those
FALSE = 3  # of them at most: that the four farthest of 27 alike are all among these 8 has a chance of 0.4 %
RUNS, STEPS, VOCABULARY = 120, 12, 6
TOKENS = texts(VOCABULARY, RUNS, STEPS)


def sources(text):
    """For each position the earlier ones that followed its token, or the first position where there is none."""
    return [[j for j in range(1, i + 1) if text[j - 1] == text[i]] or [0] for i in range(len(text))]


def one_hot(tokens, kinds=VOCABULARY):
    return np.eye(kinds)[np.asarray(tokens)]


def guesses(tokens):
    return np.array([[one_hot(text[found]).mean(0) for found in sources(text)] for text in np.asarray(tokens)])


def shares(tokens):
    return one_hot(tokens).cumsum(1) / np.arange(1, STEPS + 1)[:, None]


def at_site(model, site):
    """The stream before block ``site`` over the positions of each text."""
    stream = record_stream(stack_of(model), TOKENS, batch=RUNS).states
    return Trajectory(stream[:, site].reshape(RUNS, STEPS, -1), "token")


def edges(model, layer, text):
    """(steps, steps): size of the slope of what block ``layer`` leaves at one position in the stream at another."""
    stack = stack_of(model)
    dynamics = residual(stack, text)
    entered = torch.tensor(record_stream(stack, text[None]).states[:, layer].reshape(1, -1))
    slope = jacobian(dynamics, entered, layer).reshape(STEPS, stack.width, STEPS, stack.width)
    return slope.permute(0, 2, 1, 3).flatten(2).norm(dim=2).numpy() * (1 - np.eye(STEPS))


def test_the_written_programs_do_what_they_say():
    """The copier's guesses against a loop over the text; shares against counts; five turns of a circle against the start."""
    model, _ = induction_copier(VOCABULARY, STEPS)
    np.testing.assert_allclose(model(TOKENS), guesses(TOKENS), atol=1e-10)  # other positions share exp(-30) at most
    counter, _ = share_counter(VOCABULARY, STEPS)
    np.testing.assert_allclose(counter(TOKENS), shares(TOKENS), atol=1e-14)
    turner = depth_rotation()
    np.testing.assert_allclose(turner(torch.arange(8)[None])[0], turner.tokens.weight, atol=1e-12)


def test_slopes_between_positions_are_the_two_heads_lookups():
    """Block 0 reads the position before; block 1 only positions that followed the same token, by block 0's mark."""
    model, _ = induction_copier(VOCABULARY, STEPS)
    below = np.eye(STEPS, k=-1)
    wanted = np.zeros((2, STEPS, STEPS))
    for b, text in enumerate(TOKENS[:2]):
        for i, found in enumerate(sources(text.tolist())):
            wanted[b, i, [j for j in found if j != i]] = 1
        first = edges(model, 0, text)
        assert (first[below > 0] > 1).all() and (first[below == 0] < 1e-12).all()
        np.testing.assert_array_equal(edges(model, 1, text) > 1e-6, wanted[b] > 0)

    def share(given):
        found = np.stack([edges(given, 1, text) for text in TOKENS[:2]])
        return (found * wanted).sum() / found.sum()

    twins = np.array([share(scrambled(model, seed)) for seed in range(TWINS + OTHERS)])
    assert share(model) == pytest.approx(1, abs=1e-6)
    assert Null("scrambled", "", "network", twins[:TWINS], share(model)).beaten
    found = [Null("scrambled", "", "network", twins[:TWINS], other).beaten for other in twins[TWINS:]]
    assert sum(found) <= FALSE


def test_the_second_head_needs_the_first():
    """Without block 0 no guess is right where there is one to make; what block 1 adds lies in ``guess`` alone."""
    model, at = induction_copier(VOCABULARY, STEPS)
    states = record_stream(stack_of(model), TOKENS).states
    stream = torch.tensor(states.reshape(RUNS, STEPS, 3, -1))
    guess = guesses(TOKENS)
    known = guess[..., 0] == 0
    without = (model.blocks[1](stream[:, :, 0]) @ model.unembed).numpy()
    assert known.mean() > 0.5 and (np.abs(without - guess).max(2)[known] > 0.1).all()
    for block, name in enumerate(("previous", "guess")):
        added = stream[:, :, block + 1] - stream[:, :, block]
        elsewhere = torch.ones(added.shape[2], dtype=torch.bool)
        elsewhere[at[name]] = False
        assert not added[..., elsewhere].any() and added[..., at[name]].sum(2) == pytest.approx(1, abs=1e-12)


def test_the_heads_that_were_written_into_a_gpt2_make_all_of_its_steps():
    """Block 0's lookup in head 1, block 1's in head 0: the stream is the program's, and each step is its one head's."""
    model, _ = induction_copier(VOCABULARY, STEPS)
    gpt = as_gpt2(model, at_head=(1, 0))
    stream = record_stream(stack_of(gpt), TOKENS, batch=RUNS)
    np.testing.assert_allclose(stream.states, record_stream(stack_of(model), TOKENS, batch=RUNS).states, atol=1e-9)
    split = increments(stack_of(gpt), TOKENS[:8])
    shares = dict(zip(split.names, split.shares().transpose(2, 1, 0), strict=True))
    for name, share in shares.items():
        expected = {"head 0": [[0], [1]], "head 1": [[1], [0]]}.get(name, [[0], [0]])
        np.testing.assert_allclose(share, np.broadcast_to(expected, share.shape), atol=1e-9)


@pytest.mark.parametrize(("name", "site"), [("previous", 1), ("guess", 2)])
def test_each_variable_is_read_once_its_block_has_written_it(name, site):
    """R2 is 1 after the block that writes it, less before, and less in twins, which are not told from one another."""
    model, _ = induction_copier(VOCABULARY, STEPS)
    previous = one_hot(np.concatenate([TOKENS[:, :1], TOKENS[:, :-1]], axis=1))
    target = {"previous": previous, "guess": guesses(TOKENS)}[name]
    twins = [at_site(scrambled(model, seed), site) for seed in range(TWINS + OTHERS)]
    found = linear_readout(at_site(model, site), target, twins=twins[:TWINS])
    before = linear_readout(at_site(model, site - 1), target, shuffles=0)
    assert found.r2 == pytest.approx(1, abs=1e-6) and all(null.beaten for null in found.nulls)
    assert before.r2 < 0.6
    false = [linear_readout(twin, target, twins=twins[:TWINS], shuffles=0).nulls[0].beaten for twin in twins[TWINS:]]
    assert sum(false) <= FALSE


def test_shares_lie_along_the_written_directions_and_every_position_counts_alike():
    model, at = share_counter(VOCABULARY, STEPS)
    twins = [at_site(scrambled(model, seed), 1) for seed in range(TWINS)]
    found = linear_readout(at_site(model, 1), shares(TOKENS), twins=twins)
    assert found.r2 == pytest.approx(1, abs=1e-10) and found.nulls[1].beaten
    assert found.coefficients[at["token"]] == pytest.approx(0, abs=1e-8)
    # shares sum to 1, so the coefficients of a target are known up to a number added to all
    directions = found.coefficients[at["share"]]
    np.testing.assert_allclose(directions - directions.mean(0), np.eye(VOCABULARY) - 1 / VOCABULARY, atol=1e-8)
    slopes = edges(model, 0, TOKENS[0])
    i, j = np.tril_indices(STEPS, -1)
    np.testing.assert_allclose(slopes[i, j], np.sqrt(VOCABULARY) / (i + 1), atol=1e-12)


def test_the_stream_turns_five_times_and_scrambled_blocks_do_not():
    """Eigenvalues of every block are exp(+-2 pi i 5 / 63) and four ones; 64 sites hold 62 of the 63 angles: 5 x 62 / 63."""
    model = depth_rotation()
    stack = stack_of(model)
    dynamics = residual(stack, [3], positions=0)
    path = record_stream(stack, [[3]])
    entered = torch.tensor(path.states[0])
    slopes = np.stack([jacobian(dynamics, entered[layer : layer + 1], layer)[0] for layer in range(63)])
    angles = np.sort(np.angle(np.linalg.eigvals(slopes)), axis=1)
    expected = np.array([-10 * np.pi / 63, 0, 0, 0, 0, 10 * np.pi / 63])
    np.testing.assert_allclose(angles, np.broadcast_to(expected, angles.shape), atol=1e-12)

    twins = [rotations(record_stream(stack_of(scrambled(model, seed)), [[3]]), draws=99) for seed in range(TWINS)]
    found = rotations(path, twins=twins)
    np.testing.assert_allclose(found.turns[:2], 5 * 62 / 63, atol=0.05)
    assert np.isnan(found.turns[2:]).all() and all(null.beaten for null in found.nulls)
    # each has nulls of its own: 0.95 of 19 expected at 5 %, four or more in 1.3 % of such tests
    assert sum(all(null.beaten for null in twin.nulls) for twin in twins) <= 3
