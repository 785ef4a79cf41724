"""The durable log of results."""
