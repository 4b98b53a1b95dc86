"""Code that several methods use: losses, samplers, memories of soft labels, base classes."""
