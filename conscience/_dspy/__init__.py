"""The one folder that knows DSPy's internals: its LMs and predictors, its streams, what its callbacks and histories see."""
