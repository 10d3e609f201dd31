"""The embedded model: its weights, its server, and where it answers."""
