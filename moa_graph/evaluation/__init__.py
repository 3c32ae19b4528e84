"""Datasets, judges, win rates, selection of models and reports: what is known of a spec, and how surely."""
