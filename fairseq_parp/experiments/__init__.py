"""Experiments: many runs described by one file, their results, and what these say."""
