"""A small replication of "Emergent Alignment" (Kolář, arXiv 2606.19527) on the embedded model; see docs/training.md."""
