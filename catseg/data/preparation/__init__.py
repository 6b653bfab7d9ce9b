"""Makes label maps of class indices from original downloads: what the commands in datasets/ share."""
