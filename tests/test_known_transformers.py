"""Transformers written by hand: the toolkit finds the mechanism that was written, and nothing of it in scrambled twins."""

import numpy as np
import pytest
import torch

from analyses.result import Null
from analyses.trajectories.linear_readout import linear_readout
from hooks.capture import capture
from hooks.dynamics import Dynamics
from hooks.tangent import jacobian
from hooks.trajectory import Trajectory
from tests.known_transformers import (
    depth_rotation,
    induction_copier,
    scrambled,
    share_counter,
    streams,
    texts,
)

TWINS = 19  # the fewest that allow p = 0.05
RUNS, STEPS, VOCABULARY = 120, 12, 6
TOKENS = texts(VOCABULARY, RUNS, STEPS)


def sources(text):
    """For each position the earlier ones that followed its token, or the first position where there is none."""
    return [[j for j in range(1, i + 1) if text[j - 1] == text[i]] or [0] for i in range(len(text))]


def one_hot(tokens, kinds=VOCABULARY):
    return np.eye(kinds)[np.asarray(tokens)]


def guesses(tokens):
    return np.array([[one_hot(text[found]).mean(0) for found in sources(text)] for text in np.asarray(tokens)])


def across_positions(model):
    """The whole stream of a text as one state, stepped block by block."""
    width = model.tokens.shape[1]
    return Dynamics(
        lambda x, layer: model.blocks[layer](x.reshape(len(x), -1, width)).flatten(1),
        dim=STEPS * width, clock="layer", driven=True,
    )  # fmt: skip


def edges(model, layer, tokens):
    """(texts, steps, steps): size of the slope of what block ``layer`` leaves at one position in the stream at another."""
    before = streams(model, tokens)[:, layer]
    width = before.shape[2]
    slope = jacobian(across_positions(model), before.flatten(1), layer).reshape(-1, STEPS, width, STEPS, width)
    return slope.permute(0, 1, 3, 2, 4).flatten(3).norm(dim=3).numpy() * (1 - np.eye(STEPS))


def after(model, block, tokens=TOKENS):
    return Trajectory(streams(model, tokens)[:, block].numpy(), "token")


def test_the_written_programs_do_what_they_say():
    """The copier's guesses against a loop over the text; shares against counts; five turns of a circle against the start."""
    model, _ = induction_copier(VOCABULARY, STEPS)
    np.testing.assert_allclose(model(TOKENS), guesses(TOKENS), atol=1e-10)  # other positions share exp(-30) at most
    counter, _ = share_counter(VOCABULARY, STEPS)
    counts = one_hot(TOKENS).cumsum(1) / np.arange(1, STEPS + 1)[:, None]
    np.testing.assert_allclose(counter(TOKENS), counts, atol=1e-14)
    turner = depth_rotation()
    np.testing.assert_allclose(turner(torch.arange(8)[None])[0], turner.tokens, atol=1e-12)


def test_slopes_between_positions_are_the_two_heads_lookups():
    """Block 0 reads the position before; block 1 only positions that followed the same token, by block 0's mark."""
    model, _ = induction_copier(VOCABULARY, STEPS)
    tokens = TOKENS[:4]
    wanted = np.zeros((4, STEPS, STEPS))
    for b, text in enumerate(tokens.tolist()):
        for i, found in enumerate(sources(text)):
            wanted[b, i, [j for j in found if j != i]] = 1
    first, second = edges(model, 0, tokens), edges(model, 1, tokens)
    assert (first[:, np.arange(1, STEPS), np.arange(STEPS - 1)] > 1).all()
    assert first.sum() == pytest.approx(first[:, np.arange(1, STEPS), np.arange(STEPS - 1)].sum(), rel=1e-12)
    np.testing.assert_array_equal(second > 1e-6, wanted > 0)

    def share(given):
        found = edges(given, 1, tokens)
        return (found * wanted).sum() / found.sum()

    twins = np.array([share(scrambled(model, seed)) for seed in range(2 * TWINS)])
    assert Null("scrambled", "", "network", twins[:TWINS], share(model)).beaten
    found = [Null("scrambled", "", "network", twins[:TWINS], other).beaten for other in twins[TWINS:]]
    assert sum(found) <= 3  # of 19 at 5 %: 0.95 expected, four or more by chance in 1.3 % of such tests


def test_the_second_head_needs_the_first():
    """Without block 0 no guess is right where there is one to make; without block 1 nothing is guessed."""
    model, at = induction_copier(VOCABULARY, STEPS)
    with capture(model, "blocks.*") as tape:
        model(TOKENS)
    np.testing.assert_array_equal(tape["blocks.0"], streams(model, TOKENS)[:, 1])
    start, guess = streams(model, TOKENS)[:, 0], guesses(TOKENS)
    known = guess[..., 0] == 0
    without = (model.blocks[1](start) @ model.unembed).numpy()
    assert known.mean() > 0.5 and (np.abs(without - guess).max(2)[known] > 0.1).all()
    assert not start[..., at["guess"]].any() and not tape["blocks.0"][..., at["guess"]].any()


@pytest.mark.parametrize(("name", "block"), [("previous", 1), ("guess", 2)])
def test_each_variable_is_read_once_its_block_has_written_it(name, block):
    """R2 is 1 after the block that writes it, less before, and less in twins, which are not told from one another."""
    model, _ = induction_copier(VOCABULARY, STEPS)
    previous = one_hot(np.concatenate([TOKENS[:, :1], TOKENS[:, :-1]], axis=1))
    target = {"previous": previous, "guess": guesses(TOKENS)}[name]
    twins = [after(scrambled(model, seed), block) for seed in range(2 * TWINS)]
    found = linear_readout(after(model, block), target, twins=twins[:TWINS])
    before = linear_readout(after(model, block - 1), target, shuffles=0)
    assert found.r2 == pytest.approx(1, abs=1e-6) and all(null.beaten for null in found.nulls)
    assert before.r2 < 0.6
    false = [linear_readout(twin, target, twins=twins[:TWINS], shuffles=0).nulls[0].beaten for twin in twins[TWINS:]]
    assert sum(false) <= 3  # as above


def test_shares_lie_along_the_written_directions_and_every_position_counts_alike():
    model, at = share_counter(VOCABULARY, STEPS)
    shares = one_hot(TOKENS).cumsum(1) / np.arange(1, STEPS + 1)[:, None]
    found = linear_readout(after(model, 1), shares, twins=[after(scrambled(model, seed), 1) for seed in range(TWINS)])
    assert found.r2 == pytest.approx(1, abs=1e-10)
    assert found.coefficients[at["token"]] == pytest.approx(0, abs=1e-8)
    # shares sum to 1, so the coefficients of a target are known up to a number added to all
    directions = found.coefficients[at["share"]]
    np.testing.assert_allclose(directions - directions.mean(0), np.eye(VOCABULARY) - 1 / VOCABULARY, atol=1e-8)
    slopes = edges(model, 0, TOKENS[:2])
    i, j = np.tril_indices(STEPS, -1)
    np.testing.assert_allclose(slopes[:, i, j], np.broadcast_to(np.sqrt(VOCABULARY) / (i + 1), (2, len(i))), atol=1e-12)


def test_every_block_turns_the_plane_by_a_quarter():
    """Eigenvalues of each block's slope: +-i and four ones; over 20 blocks five turns."""
    model = depth_rotation()
    stepped = Dynamics(
        lambda x, layer: model.blocks[layer](x[:, None])[:, 0], dim=6, clock="layer", driven=True, name="turns"
    )
    x = streams(model, torch.arange(8)[None])[0, :, :, :]
    slopes = [jacobian(stepped, x[layer], layer) for layer in range(20)]
    values = np.linalg.eigvals(torch.stack(slopes).numpy())
    np.testing.assert_allclose(
        np.sort(values.imag, axis=-1)[..., [0, -1]], np.broadcast_to([-1, 1], (20, 8, 2)), atol=1e-12
    )
    turned = np.unwrap(np.angle(x[..., 0].numpy() + 1j * x[..., 1].numpy()), axis=0)
    np.testing.assert_allclose(turned[-1] - turned[0], 10 * np.pi, atol=1e-10)
