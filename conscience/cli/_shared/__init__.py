"""What several commands share: options, cases, programs, and how things are printed."""
