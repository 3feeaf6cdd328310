"""The demo: speech synthesised here, a small pretrained model, and the real commands run on them."""
