"""What a checkpoint can be exported to. The module ``to_TARGET`` has ``write``, ``stored`` and ``outputs``."""

TARGETS = {
    "compact": "one safetensors file of masks and kept values, which every command of this package reads",
    "fairseq": "a checkpoint that stock fairseq loads and decodes without this plugin",
    "transformers": "a folder for Hugging Face transformers' from_pretrained",
}
