"""The Python interface: `catseg.load`, models that segment anything that is an image, and their results."""
