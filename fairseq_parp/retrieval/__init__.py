"""Retrieval with a grounded checkpoint: embeddings, recall with intervals, rankings, contact sheets."""
