"""The DSPy modules of a program: Generate, Review with its Critique, and Revise."""
