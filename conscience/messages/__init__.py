"""Chat messages and completions: what is sent to a model and what comes back."""

from conscience.messages.completion import Completion as Completion
from conscience.messages.completion import Message as Message
