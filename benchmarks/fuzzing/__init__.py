"""Parts of benchmarks/fuzz.py: samples, damage, verbs, and the processes that they run in."""
