"""Analyses that read a map as discrete: linear regions, words, graphs.

=====================  ====================================================================
exact_fixed_points     every fixed point of a piecewise-linear map, and a proof that there is no other
=====================  ====================================================================
"""
