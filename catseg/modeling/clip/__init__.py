"""CLIP through open_clip: loading, dense image features, text features."""
