"""Training and evaluation runs: from command line arguments to checkpoints and results."""
