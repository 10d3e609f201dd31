"""Eyes on a program: its verdicts in a log, hooks on its outcomes, spans and metrics, and a mode that only looks."""
