"""Reading, checking and building manifests: the data folders that fairseq trains on.

The format itself is specified in ``manifests/README.md`` at the top of the repository. Nothing here
imports fairseq or torch.
"""
