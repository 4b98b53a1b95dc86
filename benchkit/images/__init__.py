"""Images and their features: backbones, the feature cache, and the built-in scenes."""
