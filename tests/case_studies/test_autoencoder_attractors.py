import numpy as np
import pytest
import torch

from case_studies.autoencoder_attractors import BATCH, DECAY, RATE, Autoencoder, digits, trained


def test_networks_trained_at_once_are_those_trained_alone():
    """Padding, stacking and one sum of losses change nothing but rounding against torch's own layers and plain Adam."""
    pixels = digits()[0][:200]
    data = {"digits": pixels, "dark": 0.5 * pixels}
    wanted = [("digits", 0, 2), ("dark", 1, 5)]
    together = dict(trained(wanted, data, epochs=2, kept=(0, 2)))
    for name, seed, units in wanted:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            alone = Autoencoder(units)
        start = together[name, seed, units, 0].state_dict()
        assert all(torch.equal(value, start[key]) for key, value in alone.state_dict().items())
        optimiser = torch.optim.Adam(alone.parameters(), lr=RATE, weight_decay=DECAY)
        generator = torch.Generator().manual_seed(0)
        x = torch.tensor(data[name], dtype=torch.float32)
        for _ in range(2):
            for rows in torch.randperm(len(x), generator=generator).split(BATCH):
                optimiser.zero_grad()
                ((alone.decoder(alone.encoder(x[rows])) - x[rows]) ** 2).mean().backward()
                optimiser.step()
        end = together[name, seed, units, 2].state_dict()
        for key, value in alone.state_dict().items():
            # 8 updates of 5e-4 in float32, whose first steps have the sign of the gradient and amplify its rounding
            torch.testing.assert_close(end[key], value, rtol=0, atol=2e-5)


def test_the_digits_are_split_once_and_lie_in_the_unit_interval():
    training, held_out = digits()
    assert (len(training), len(held_out)) == (1437, 360)
    assert min(training.min(), held_out.min()) == 0 and max(training.max(), held_out.max()) == 1
    assert np.concatenate([training, held_out]).mean() == pytest.approx(
        0.30526, abs=1e-5
    )  # 4.884 / 16, scikit-learn's mean
