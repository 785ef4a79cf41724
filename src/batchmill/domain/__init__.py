"""The rules, pure: no async, clock, randomness, files or logging."""
