"""Commands in running jobs, and connections to jobs' own ports, from this side.

A command's session outlives its connections: see `toolkit_ext.job_init.exec_frames`, which both ends use.
"""
