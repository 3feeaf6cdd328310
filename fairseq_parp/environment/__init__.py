"""Setting the environment up, and looking at what is there. Nothing here needs torch or fairseq."""
