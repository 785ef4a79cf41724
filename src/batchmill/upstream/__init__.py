"""What answers requests: the HTTP transport and the built-in models."""
