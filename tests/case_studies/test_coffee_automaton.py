import math

import numpy as np
import pytest

from case_studies.coffee_automaton import interacting, walkers


@pytest.mark.parametrize("run", [interacting, walkers])
def test_cream_is_kept_and_its_slowest_mode_decays_as_the_heat_equation_says(run):
    """By 1 - (1 - cos(pi / width)) / 4 a sweep, for a rate of 1/8 across each bond. The amplitude of some 512 particles errs by
    2 sqrt(0.5 * 0.5 / 1024) = 0.03 for walkers and less for others; three of them are allowed."""
    width = 32
    times = np.array([0, int(8 * (width / math.pi) ** 2)])
    frames = run(width, times, np.random.default_rng(1))
    assert frames.shape == (2, width, width) and (frames.sum(axis=(1, 2)) == width * width // 2).all()
    if run is interacting:
        assert set(np.unique(frames)) == {0.0, 1.0}
    mode = np.cos(math.pi * (np.arange(width) + 0.5) / width)
    before, after = 2 * (frames.mean(axis=2) * mode).mean(axis=1)
    assert abs(after - before * (1 - (1 - math.cos(math.pi / width)) / 4) ** times[1]) < 0.09
    assert before - after > 0.3
