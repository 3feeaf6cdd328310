"""The registered task."""
