"""The OpenAI-shaped door."""
