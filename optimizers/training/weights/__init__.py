"""What knows torch: the model that is trained, its loss, and the files that come of it."""
