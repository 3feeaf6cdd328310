"""UER and WER of decoded text, and the types of errors. Nothing here imports torch or fairseq."""

from fairseq_parp.scoring.rates import ErrorRate, error_rate
from fairseq_parp.scoring.results import ResultsError, Score, Utterance, score_file, score_utterances

__all__ = ["ErrorRate", "ResultsError", "Score", "Utterance", "error_rate", "score_file", "score_utterances"]
