"""One call of a program: its state, its rounds of revision, who watches it, and the models that it may use."""
