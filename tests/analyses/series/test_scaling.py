import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from analyses.series._scaling import Lines, slopes

SCALES = 2 ** np.arange(4, 13)
X = np.log2(SCALES)


def test_ranges_span_a_decade_and_a_half_and_four_scales():
    ranges = Lines(SCALES).ranges
    assert {(last - first) for first, last in ranges} == {5, 6, 7, 8}  # octaves; 1.5 decades are 4.98
    assert_array_equal(Lines(np.array([10, 100, 1000])).ranges, np.zeros((0, 2)))
    assert len(Lines(np.array([], dtype=np.int64)).ranges) == 0


def test_a_power_law_has_its_slope_and_a_bend_is_left_out():
    """Two curves of slopes 0.3 and 1.2, bent upwards below 32."""
    curves = np.array([[0.3], [1.2]]) * X
    bent = curves + np.maximum(0, 5 - X) ** 2
    lines = Lines(SCALES)
    chosen, off = lines.best(np.stack([curves, bent]), 0.1)
    assert_allclose(slopes(np.stack([curves, bent]), lines.weights(chosen)), [[0.3, 1.2]] * 2, atol=1e-12)
    assert_allclose(off, 0, atol=1e-6)  # the square root of rounding
    assert lines.ranges[chosen[1], 0] >= 1


def test_a_curve_that_is_no_line_or_has_holes_has_no_slope():
    """A parabola is off by its quarter-range at least; of one with a hole in the middle no range of five octaves is whole."""
    lines = Lines(SCALES)
    holed = X[None].copy()
    holed[0, 4] = np.nan
    chosen, off = lines.best(np.stack([X[None] ** 2, holed]), 0.1)
    assert_array_equal(chosen, [-1, -1])
    assert off[0] > 0.1 and np.isnan(off[1])
    assert np.isnan(slopes(X[None, None], lines.weights(chosen[:1]))).all()
