"""Analyses that take a Trajectory.

=====================  ====================================================================
stream_geometry        the portrait: principal components, speed, participation ratio
=====================  ====================================================================
"""
