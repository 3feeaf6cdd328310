"""What a finetuning added to a pretrained model, as one small file; and many such parts over one model in memory.

Data flows one way: part (the file) -> base -> extracting and applying; switching (torch alone) -> loading ->
transcribing.
"""
