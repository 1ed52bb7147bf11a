"""Analyses that take a Trajectory.

=======================  ====================================================================
bounds                   whether proved bounds hold, and how much of the room is used
divergence_time          how long continuations stay the same after a token is swapped
intrinsic_dimension      how many coordinates the cloud of states needs at each step
power_spectrum_distance  the Hellinger distance D_H of two recordings' power spectra
prediction_time          how long a forecast stays with the truth
residual_stream          how a stream moves through depth, beside walks and untrained networks
rotation                 how often its units turn in their phase plane, beside the same
state_space_divergence   the divergence D_stsp of the states that two recordings visit
stream_geometry          the portrait: principal components, speed, participation ratio
=======================  ====================================================================
"""
