"""Labels and probabilities from a finetuned classifier, whatever it was trained on; accuracy, confusion matrix."""
