"""The way out of fairseq, and back in: checkpoints as other libraries keep them."""
