"""Converts checkpoints to the formats of other libraries, and back to fairseq's."""
