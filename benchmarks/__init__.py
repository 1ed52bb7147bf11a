"""Side-by-side timings against named peers: one command, ratios in one run, written to RESULTS.md."""
