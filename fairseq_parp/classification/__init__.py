"""Labels and probabilities from a finetuned classifier of utterances or texts; accuracy, confusion matrix."""
