"""A model in a process and an environment of its own: its requirements, installed beside this process's packages."""
