"""The way of a job: planned, carried out, told, looked back at."""
