"""Text with labels: reading tables, the tokenizer, the binarised folder that fairseq trains on."""
