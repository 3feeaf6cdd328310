"""Masks in files: read from any kind of file, made from a checkpoint, applied to one, compared."""
