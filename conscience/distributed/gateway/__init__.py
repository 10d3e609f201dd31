"""One process a node makes the calls of all workers there: see ``gateway.py``."""
