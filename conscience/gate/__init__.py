"""The gate: signals about a draft, a calibrated probability, and a threshold."""
