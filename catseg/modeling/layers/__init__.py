"""Building blocks that depend on torch and timm alone."""
