"""What perf/run does: builds, plans, runs the benchmark programs, and reports."""
