"""Airflow's pages in a real browser: for the pictures of the guides (`make pictures`), and for `tests/browser`."""
