"""What models are seen to do at their addresses, where tables of models are silent or wrong."""
