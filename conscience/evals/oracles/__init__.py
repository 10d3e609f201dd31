"""Oracles: is a response acceptable for a case? Each says why, so that a report can show it; see ``named.oracle_for``."""
