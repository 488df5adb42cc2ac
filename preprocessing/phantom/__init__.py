"""Synthetic heads: planned, drawn, and laid out as BraTS and IXI are."""
