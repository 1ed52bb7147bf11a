"""Analyses that take weights, or their history over training, and step no map.

===================  ===================================================================================================
neuron_multifractal  how heterogeneous are the weights around each unit, and how much of that survives a shuffle
perturbation_error   how far weights can be moved before the error is as large as what was learned, by their number
token_flow           where tokens go when a selective layer is applied without end: fates beside the regime's prediction
token_regime         do tokens flow together or apart: signs of the spectrum of S_C' S_B, and what forces them
===================  ===================================================================================================
"""
