"""Tools that open a store, and the files of turns that they read and write."""
