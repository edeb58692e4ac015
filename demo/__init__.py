"""The demo: a real Airflow on one machine that publishes a wheel, rolls it out, and tells the road.

========================  ==========================================================================================
``python -m demo.road``   runs the DAG ``publish_and_roll_out`` once and tells what happens (``make demo``)
``python -m demo.up``     starts Airflow with its web UI and waits for Ctrl-C (``make up``)
``airflow_stack``         Airflow's processes in one folder: settings, start, health, end
``airflow_settings``      what that folder holds: airflow.cfg, secrets, links to the DAG files
``airflow_client``        Airflow's REST API, as far as the demo reads it
``ending``                signals become an exception
``processes``             one process with a log file; ends whole sessions, also when we are killed
``follow``                polls a DAG run and turns its changes into lines
``words``                 the lines, tables and closing sentences: text from values, nothing else
========================  ==========================================================================================

The demo speaks to Airflow only, over its REST API. What Google is for that Airflow (a cloud, or the sandbox) is decided
by the environment variables that this process inherits and hands on; nothing here knows.
"""
