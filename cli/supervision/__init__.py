"""Everything on one machine: starts the programs, watches them and stops them."""
