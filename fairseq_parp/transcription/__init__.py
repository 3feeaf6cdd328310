"""Text for audio files from a finetuned checkpoint: loading it with fairseq, and decoding files with it."""
