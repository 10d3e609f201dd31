"""Security linters: weaknesses that code is known to have, found without a model; see ``linters.weaknesses_in``."""
