"""What the other parts of benchkit use: files, errors, terminal, random numbers, typed fields."""
