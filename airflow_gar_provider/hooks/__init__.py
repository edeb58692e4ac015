"""From an Airflow connection to Google's clients."""
