"""What is kept of answers: an application's cache, a run's journal, and a question while it is under way."""
