"""A training from end to end: answers, pairs, steps, figures, files."""
