"""Parts: the result of a finetuning as one small file, and many of them over one model in memory.

Data flows one way: part (the file) -> base -> extracting and applying; switching (torch alone) -> loading ->
transcribing.
"""
