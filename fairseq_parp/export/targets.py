"""What a checkpoint can be exported to. The module ``to_TARGET`` has ``write``, ``stored`` and ``outputs``."""

TARGETS = {
    "fairseq": "a checkpoint that stock fairseq loads and decodes without this plugin",
    "transformers": "a folder for Hugging Face transformers' from_pretrained",
}
