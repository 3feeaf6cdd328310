"""The code around an update of any fairseq task: masters, ranks, randomness, precision, resume."""
