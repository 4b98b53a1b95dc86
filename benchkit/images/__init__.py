"""From image files to features: backbones, the feature cache, and the scenes drawn here."""
