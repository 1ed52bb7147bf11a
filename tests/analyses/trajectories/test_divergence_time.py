import numpy as np
import pytest
import torch

from analyses.trajectories.divergence_time import divergence_times
from hooks.continuations import continuations
from hooks.errors import InputError
from tests.tiny import tiny, tokens

TOKENS = 8


def model(next_scores):
    """A model whose scores of the next token are a function of the text so far, (texts, steps), at each step."""

    def scores(text):
        return torch.stack([next_scores(text[:, : end + 1]) for end in range(text.shape[1])], dim=1)

    return scores


def chosen(first, margin, second=None):
    """Scores that put one token ahead of a second one by a margin, and all others far behind."""
    second = (first + 1) % TOKENS if second is None else second
    rows = torch.full((len(first), TOKENS), -30.0)
    rows[torch.arange(len(first)), second] = 0.0
    rows[torch.arange(len(first)), first] = margin if isinstance(margin, torch.Tensor) else torch.tensor(float(margin))
    return rows


def doubling(text):
    return chosen(2 * text[:, -1] % 7, 5.0)


def forgetting(text):
    return chosen(torch.full_like(text[:, -1], text.shape[1] % TOKENS), 5.0)


def latched(text):
    """Every fifth token is a choice between 6 and 7, nearly even, which all others then repeat as 0 or 1; they forget else."""
    at = text.shape[1] % 5
    if at == 0:
        return chosen(torch.full_like(text[:, 0], 6), 0.1, torch.full_like(text[:, 0], 7))
    last = text[:, text.shape[1] - at]
    return chosen((last == 7).long(), 8.0, torch.full_like(last, 3))


def specimens():
    prompts = np.arange(4)[:, None]
    found = continuations(model(latched), prompts, steps=20, horizon=3)
    return [divergence_times(found, share=0.2, draws=19), divergence_times(found, share=1.0)]


def test_a_map_of_the_last_token_parts_at_once_and_for_good():
    # 2 x mod 7 and 2 (x + 1) mod 7 never meet
    found = divergence_times(continuations(model(doubling), np.arange(1, 4)[:, None], steps=5, horizon=6))
    assert (found.times == 0).all() and found.parted.all() and (found.differing == 1).all()
    # entropy of two tokens 5 nats apart
    p = 1 / (1 + np.exp(-5.0))
    np.testing.assert_allclose(found.uncertainty, -p * np.log(p) - (1 - p) * np.log(1 - p), atol=1e-9)
    assert found.summary().startswith("15 of 15 swaps part the text within 6 tokens")
    assert "not shown" in found.summary()


def test_a_model_that_forgets_never_parts():
    found = divergence_times(continuations(model(forgetting), np.zeros((2, 3), dtype=int), steps=6, horizon=4))
    assert (found.times == 4).all() and not found.parted.any() and found.mean_time == 4
    assert all(check.passed for check in found.checks) and not any(null.beaten for null in found.nulls)


def test_uncertain_choices_that_are_kept_are_found_and_beat_both_nulls():
    found = divergence_times(continuations(model(latched), np.arange(4)[:, None], steps=20, horizon=3), share=0.2)
    choices = (np.arange(1, 21) % 5 == 0)[None].repeat(4, axis=0)
    assert (found.flagged == choices).all()  # entropy near ln 2 there, and 0.003 elsewhere
    assert (found.times[choices] == 0).all() and (found.times[~choices] == 3).all()
    assert found.flagged_time == 0 and all(null.beaten for null in found.nulls)
    assert "texts part sooner there" in found.summary()


def test_a_random_transformer_changes_nothing_when_a_token_is_swapped_for_itself():
    written = continuations(tiny("gpt2"), tokens(3, 4), steps=6, horizon=5, batch=2)
    assert written.tokens.shape == (3, 11) and written.swapped.shape == (3, 6, 5) and written.second.shape == (3, 6)
    assert (written.second != written.tokens[:, :6]).all()
    found = divergence_times(written)
    assert all(check.passed for check in found.checks)
    with torch.no_grad():  # the library's own greedy search
        theirs = tiny("gpt2").generate(
            tokens(3, 4), attention_mask=torch.ones(3, 4), max_new_tokens=11, do_sample=False, eos_token_id=None
        )
    assert (theirs[:, 4:].numpy() == written.tokens).all()


def test_every_position_flagged_leaves_nothing_to_compare():
    found = specimens()[1]
    assert found.nulls == () and found.flagged.all() and "nothing to compare" in found.summary()


def test_flags_that_know_nothing_rarely_beat_the_nulls():
    rng = np.random.default_rng(1)
    beaten = 0
    found = continuations(model(latched), np.arange(4)[:, None], steps=20, horizon=3)
    for _ in range(100):
        shuffled = type(found)(found.tokens, rng.random((4, 20)), found.second, found.swapped, found.control)
        beaten += divergence_times(shuffled, share=0.2, draws=99, generator=rng).nulls[0].beaten
    assert beaten <= 12  # 5 in the mean; more than 12 once in 600


def test_refusals_say_what_came():
    with pytest.raises(InputError, match="share="):
        divergence_times(continuations(model(doubling), [[1]], steps=2, horizon=2), share=0.0)
    for prompts, options in (([1, 2], {}), ([[0.5]], {}), ([[1]], {"horizon": 0})):
        with pytest.raises(InputError, match=r"prompts are \(texts, length\)"):
            continuations(model(doubling), prompts, **{"steps": 2, "horizon": 2, **options})
    with pytest.raises(InputError, match="training mode"):
        continuations(tiny("gpt2").train(), [[1]], steps=2, horizon=2)
    with pytest.raises(InputError, match="two next tokens or more"):
        continuations(lambda text: torch.zeros(*text.shape, 1), [[1]], steps=1, horizon=1)
