"""Datasets: what the plugin puts around fairseq's own."""
