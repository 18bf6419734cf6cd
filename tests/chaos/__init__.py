"""Faults on purpose: `make chaos` kills, stops and restarts the real stack while mentions pass through it."""
