"""Analyses that take a Trajectory.

=======================  ====================================================================
bounds                   whether proved bounds hold, and how much of the room is used
divergence_time          how long continuations stay the same after a token is swapped
power_spectrum_distance  the Hellinger distance D_H of two recordings' power spectra
prediction_time          how long a forecast stays with the truth
state_space_divergence   the divergence D_stsp of the states that two recordings visit
stream_geometry          the portrait: principal components, speed, participation ratio
=======================  ====================================================================
"""
