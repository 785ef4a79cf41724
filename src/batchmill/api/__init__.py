"""The OpenAI-shaped door: HTTP in front of the use-cases."""
