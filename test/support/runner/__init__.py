"""What test/run does: builds each variant, runs its programs and the Python tests, counts, and reports."""
