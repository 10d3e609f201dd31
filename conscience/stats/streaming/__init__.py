"""Figures of more cases than can be held, from counts, histograms and samples of a fixed size, whatever their order."""
