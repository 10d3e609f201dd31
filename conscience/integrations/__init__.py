"""Doors for other packages: each module is imported by name, and imports the package that it is for."""
