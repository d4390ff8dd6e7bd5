"""What training costs: bytes by formula, bytes counted, published shapes, records of real GPUs."""
