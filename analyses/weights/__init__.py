"""Analyses that take weights, or their history over training, and run nothing.

=====================  ====================================================================
neuron_multifractal    how heterogeneous are the weights around each unit, and how much of that survives a shuffle
=====================  ====================================================================
"""
