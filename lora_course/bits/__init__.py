"""Numbers in fewer bits: int8 and NF4 from scratch, and the loader of 4-bit models."""
