"""What the optimizers hold beside the model."""
