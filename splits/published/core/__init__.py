"""The parts that published splits share: contract, list files, image names, discovery."""
