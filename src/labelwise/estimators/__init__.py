"""Scikit-learn estimators, one a task, that run any recipe of the task."""
