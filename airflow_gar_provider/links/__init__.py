"""Buttons on a task's page. Each shows a URL that the task pushed as soon as it knew it."""
