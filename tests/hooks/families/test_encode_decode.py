import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps.certificates import certify
from analyses.maps.fixed_points import find_fixed_points
from hooks.contract import check_dynamics, check_replay
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import encode_decode, is_encode_decode, rebuilt


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
        self.decoder = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 6))


class Images(nn.Module):
    """Codes of two maps of 2 x 2 for images of 4 x 4."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 2, 2, stride=2), nn.Tanh())
        self.decoder = nn.ConvTranspose2d(2, 1, 2, stride=2)


class Variational(nn.Module):
    """Methods, of which one returns mean and spread."""

    def __init__(self):
        super().__init__()
        self.mean, self.spread, self.back = nn.Linear(6, 2), nn.Linear(6, 2), nn.Linear(2, 6)

    def encode(self, values):
        return self.mean(values), self.spread(values)

    def decode(self, codes):
        return self.back(codes)


@pytest.mark.parametrize(("make", "shape"), [(Dense, (6,)), (Images, (1, 4, 4)), (Variational, (6,))])
def test_a_pair_becomes_its_loop_whatever_the_shapes(make, shape):
    module, data = seeded(make), some(9, *shape)
    pair = encode_decode(module, data.numpy())
    dynamics, codes = pair.dynamics(), pair.codes(data)
    check_dynamics(dynamics, codes)
    check_replay(dynamics, rollout(dynamics, codes, steps=3))
    assert dynamics.fingerprint and dynamics.clock == "iteration"
    whole = module.double().eval()
    if make is Variational:
        said = whole.encode(data)[0]
        back = whole.decode(said)
    else:
        said = whole.encoder(data)
        back = whole.decoder(said)
    torch.testing.assert_close(codes, said.flatten(1), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(pair.decoded(codes), back.flatten(1), rtol=1e-13, atol=1e-14)
    again = whole.encode(back)[0] if make is Variational else whole.encoder(back)
    torch.testing.assert_close(dynamics(codes), again.flatten(1), rtol=1e-13, atol=1e-14)


def test_the_users_module_comes_back_unchanged():
    module = seeded(Dense)
    encode_decode(module, some(3, 6)).dynamics()
    assert module.training and module.encoder[0].weight.dtype == torch.float32
    assert module.encoder[0].weight.requires_grad


def test_without_data_the_first_linear_layer_says_the_width():
    module = seeded(Dense)
    assert encode_decode(module).dim == 2
    assert encode_decode(module).dynamics().fingerprint == encode_decode(module, some(3, 6)).dynamics().fingerprint
    for other in (Images, Variational):
        with pytest.raises(
            InputError, match=f"what {other.__name__} takes cannot be told from its layers: give it data"
        ):
            encode_decode(seeded(other))


def test_a_chain_is_made_again_from_its_weights_and_proved_again():
    dynamics = encode_decode(seeded(Dense)).dynamics()
    again = rebuilt(dynamics.weights)
    assert again.fingerprint == dynamics.fingerprint
    torch.testing.assert_close(again(some(5, 2)), dynamics(some(5, 2)), rtol=0, atol=0)
    found = find_fixed_points(dynamics, some(16, 2))
    assert len(found.points) and certify(again, found.points).proved.all()
    assert not encode_decode(seeded(Images), some(3, 1, 4, 4)).dynamics().weights
    assert not encode_decode(seeded(Variational), some(3, 6)).dynamics().weights


def test_what_is_a_pair():
    assert all(is_encode_decode(seeded(make)) for make in (Dense, Images, Variational))
    assert not is_encode_decode(nn.Linear(2, 2)) and not is_encode_decode("autoencoder")
    only = nn.Module()
    only.encoder = nn.Linear(2, 2)
    assert not is_encode_decode(only)


def test_refusals():
    with pytest.raises(InputError, match="Linear has no encode and decode"):
        encode_decode(nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"Dense does not take inputs of shape \(5,\): RuntimeError"):
        encode_decode(seeded(Dense), np.zeros((3, 5)))
    widening = seeded(Dense)
    widening.decoder = nn.Linear(2, 7)
    with pytest.raises(InputError, match=r"takes inputs of shape \(6,\) to \(7,\) numbers: decode must give back"):
        encode_decode(widening)
