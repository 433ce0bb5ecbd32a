"""`tocsin run --parallel`: drills side by side, each worker with a sandbox of its own."""
