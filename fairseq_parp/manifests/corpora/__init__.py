"""The original splits: LibriSpeech, Libri-light's labelled ten hours, and one hour of each of ten languages.

One module per corpus reads its layout on disk. ``facts`` has the published facts of each split. ``official`` compares
both and writes the data folder.
"""
