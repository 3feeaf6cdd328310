"""Speech and pictures: losses, branches, recall and files of features; torch without fairseq."""
