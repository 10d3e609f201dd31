"""The built-in constitutions: general, medical, code, hiring. Load one with ``Constitution.load("general")``."""
