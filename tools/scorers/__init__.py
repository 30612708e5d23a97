"""Random weights in published layouts, to try scorers with where the real weights are not at hand."""
