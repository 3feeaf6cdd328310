"""fairseq's own commands: their words, and running them."""
