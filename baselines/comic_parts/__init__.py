"""What the COMIC methods are made of: losses, the network of a branch, shared hyperparameters."""
