"""Two runs on the same cases: their comparison, conditions on it, and what a build reads of that."""
