"""Programs as files: what they may say, and how they are saved and loaded."""
