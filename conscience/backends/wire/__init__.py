"""The light wire: OpenAI's chat wire over one small HTTP client, without LiteLLM."""
