"""Analyses that take a Trajectory.

=======================  =================================================================================================
bounds                   whether proved bounds hold, and how much of the room is used
box_dimensions           how many dimensions a cloud of states fills: boxes, information, correlation
divergence_time          how long continuations stay the same after a token is swapped
havok                    delay coordinates as a linear system, and the forcing of its last one
intrinsic_dimension      how many coordinates the cloud of states needs at each step
koopman                  eigenvalues of the map as a linear operator, each verified or marked as spurious
linear_readout           whether a known quantity is written in the states, held out, beside networks that learned nothing
neighbour_readout        whether a known quantity is a function of the states, whatever function: by what neighbours tell
piecewise_dmd            the error of one linear map for each piece of time
power_spectrum_distance  the Hellinger distance D_H of two recordings' power spectra
prediction_time          how long a forecast stays with the truth
re_encoding              how often a linear model of lifted states should go back to the state
recurrence               when states come back and how long they then go the same way, beside shuffles and random phases
residual_stream          how a stream moves through depth, beside walks and untrained networks
rotation                 how often its units turn in their phase plane, beside the same
similarity               whether networks move alike in any coordinates (DSA)
state_space_divergence   the divergence D_stsp of the states that two recordings visit
stream_geometry          the portrait: principal components, speed, participation ratio
token_mixing             how far back a sequence layer looks, and whether its mixing matrix is the layer
token_operators          whether each token acts by one linear map, as on the beliefs of a hidden Markov process
winding                  does the state go round in its leading plane, beside phases apart and a linear process
=======================  =================================================================================================
"""
