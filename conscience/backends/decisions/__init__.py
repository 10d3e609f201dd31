"""Decision models: they answer many Yes/No questions about a text in one request, by probabilities, and write nothing."""
