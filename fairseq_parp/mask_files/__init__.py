"""Masks in files: read from any kind of file, made from a checkpoint, applied to one, compared."""

ANY_MASK = "mask file, sparse checkpoint, or checkpoint pruned by torch.nn.utils.prune"
"""Files that :func:`fairseq_parp.mask_files.reading.read_mask` reads, for the command line's help."""

CRITERIA = ("magnitude", "random", "random-init")
"""How :func:`fairseq_parp.mask_files.making.make_mask` ranks weights, for the command line's help."""
