"""Fault injection over real processes, and a checker that reads what is left: `make proof`."""
