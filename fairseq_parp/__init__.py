"""PARP (prune, adjust, re-prune) finetuning of wav2vec 2.0 as a fairseq user-dir plugin.

Point fairseq at this folder (``common.user_dir=.../fairseq_parp``) and it registers the task
``parp_finetuning`` and the model ``parp_wav2vec_ctc``. Importing the package alone is cheap and
needs neither fairseq nor torch; :mod:`fairseq_parp.sparsity` needs torch only.
"""

__version__ = "0.2.0"
