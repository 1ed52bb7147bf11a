"""Analyses that take a Trajectory.

=======================  ====================================================================
power_spectrum_distance  the Hellinger distance D_H of two recordings' power spectra
prediction_time          how long a forecast stays with the truth
state_space_divergence   the divergence D_stsp of the states that two recordings visit
stream_geometry          the portrait: principal components, speed, participation ratio
=======================  ====================================================================
"""
