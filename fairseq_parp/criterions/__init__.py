"""What fairseq registers as criteria; tasks import them, as fairseq imports a user dir's tasks and models alone."""
