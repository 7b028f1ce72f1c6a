"""What a worker does with a shard: load, denoise, decode, write."""
