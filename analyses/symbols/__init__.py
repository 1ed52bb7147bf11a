"""Analyses that read a map as discrete: linear regions, words, graphs.

=====================  ====================================================================
almost_linear_fit      piecewise-linear recurrences trained on a recording, many runs and numbers of rectified units at once
exact_fixed_points     every fixed point of a piecewise-linear map, and a proof that there is no other
=====================  ====================================================================
"""
