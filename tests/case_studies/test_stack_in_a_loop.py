import numpy as np
import torch

from case_studies._small_gpt import untrained
from case_studies.stack_in_a_loop import looped


def test_one_iteration_is_the_networks_own_pass_for_every_text_of_the_length():
    """The map is recorded on the first text; from the embeddings of the others it gives what the network itself does."""
    model = untrained(0, layers=3, units=16, context=8)
    texts = np.random.default_rng(0).integers(0, 256, (5, 6))
    dynamics, starts = looped(model, texts, normed=True)
    with torch.no_grad():
        said = model.transformer(torch.as_tensor(texts)).last_hidden_state.flatten(1)
        once = dynamics(torch.as_tensor(starts))
    torch.testing.assert_close(once, said.double(), rtol=0, atol=1e-5)  # float32 against float64, values of order 1
    assert (dynamics.dim, dynamics.clock, dynamics.driven) == (96, "iteration", False)


def test_the_final_norm_is_what_bounds_the_stream():
    """After it each position has mean 0 and squares that sum to the width (its weights are 1 before training)."""
    model = untrained(0, layers=3, units=16, context=8)
    dynamics, starts = looped(model, np.arange(12).reshape(2, 6), normed=True)
    with torch.no_grad():
        after = dynamics(torch.as_tensor(1e3 * starts)).unflatten(1, (6, 16))
    torch.testing.assert_close(after.square().sum(-1), torch.full((2, 6), 16.0).double(), rtol=1e-3, atol=0)  # eps 1e-5
    torch.testing.assert_close(after.mean(-1), torch.zeros(2, 6).double(), rtol=0, atol=1e-12)
