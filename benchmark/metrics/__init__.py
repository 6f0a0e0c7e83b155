"""Metrics: pure functions, and the facts each one declares about itself."""
