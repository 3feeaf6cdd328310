"""Experiments: many runs described by one file, their results, and the verdicts."""
