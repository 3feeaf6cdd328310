"""fairseq's own commands: their arguments, and running them."""
