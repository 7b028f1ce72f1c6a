"""What hierdiff costs and saves, measured: `python -m benchmarks [NAME ...]`.

A benchmark is a module with `TITLE`, a line of text, and `measure(lab: Lab) -> Outcome`; its name
stands in `ORDER`. What it measures is written to `results/<name>.json`, and one page is made of
all of them. Seconds are compared only inside one run, side by side with what they are compared to
(`pairs`), and only where both sides did the same work.
"""

# Measured by `python -m benchmarks.faults NAME`.
APART = ("services", "leaving")
ORDER = (
    "throughput",
    "saving",
    "checkpoints",
    "first_image",
    "cold_start",
    "equality",
    "parity",
    "planning",
    "churn",
    "standing",
    "joined",
    "conditionings",
    "real_sizes",
    "levels",
    "calibrated",
    "own",
    "picture_spaces",
    "variants",
    "sampled",
    "risk",
    "choice",
    "workers",
    "gpu",
    "profile",
)
