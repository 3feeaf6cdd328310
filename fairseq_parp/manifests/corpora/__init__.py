"""The original splits: LibriSpeech, Libri-light's labelled ten hours, and one hour of each of ten languages.

One module per corpus knows how it lies on disk; ``facts`` knows what each split must hold, and ``official``
checks the one against the other and writes the data folder.
"""
