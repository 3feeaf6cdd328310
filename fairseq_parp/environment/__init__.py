"""Sets up the environment and inspects it, without torch or fairseq."""
