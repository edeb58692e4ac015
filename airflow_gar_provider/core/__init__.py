"""What is true and what to do. Functions of facts: no I/O, no clock, no logging, no Google, no Airflow."""
