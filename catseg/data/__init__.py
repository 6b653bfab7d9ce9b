"""Data sets, how they are registered and how their images become training samples."""
