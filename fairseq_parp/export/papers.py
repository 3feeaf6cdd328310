"""The papers of methods and encoders, as a model card names them."""

_PARP = "Lai et al., PARP: Prune, Adjust and Re-Prune for Self-Supervised Speech Recognition, 2021, arXiv:2106.05933"

PAPERS = {
    **dict.fromkeys(("parp", "parp_p", "mpi", "rp", "fixed"), _PARP),
    "gmp": "Zhu and Gupta, To prune, or not to prune, 2017, arXiv:1710.01878",
    "rigl": "Evci et al., Rigging the Lottery: Making All Tickets Winners, 2020, arXiv:1911.11134",
    "set": "Mocanu et al., Scalable training of artificial neural networks with adaptive sparse connectivity inspired "
    "by network science, 2018, arXiv:1707.04780",
    "ste": "Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation, "
    "2013, arXiv:1308.3432",
    "s3_router": "Fu et al., Losses Can Be Blessings: Routing Self-Supervised Speech Representations Towards Efficient "
    "Multilingual and Multitask Speech Processing, 2022, arXiv:2211.01522",
    "wav2vec2": "Baevski et al., wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations, "
    "2020, arXiv:2006.11477",
    "hubert": "Hsu et al., HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden "
    "Units, 2021, arXiv:2106.07447",
    "data2vec_audio": "Baevski et al., data2vec: A General Framework for Self-supervised Learning in Speech, Vision "
    "and Language, 2022, arXiv:2202.03555",
}
"""By the name of a method (``task.pruning.method``) or of an encoder's family."""
