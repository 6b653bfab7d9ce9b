"""Parity with the authors' code, stored as numbers: `python -m catseg.parity CASE.npz ...`."""
