"""What the published splits share: the contract, list files, image names, discovery."""
