"""Use-cases on behalf of a caller, one module per noun."""
