"""Longwave's encoder in PyTorch: a dense reference, trainable modules, export to and import from
model folders.
"""
