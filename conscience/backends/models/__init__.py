"""What is known of models without asking them: LiteLLM's table, read without importing LiteLLM."""
