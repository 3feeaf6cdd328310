"""Criteria that fairseq registers. Tasks import them: fairseq imports only the tasks and models of a user dir."""
