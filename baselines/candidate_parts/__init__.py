"""What the methods for candidate labels share: the labels' reading, and a bank of soft labels."""
