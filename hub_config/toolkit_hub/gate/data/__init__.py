"""The data host: where the content of data goes in and out. The gate's second half; the first one is the door to jobs.

``host``       the host's addresses, each with its action; who asks, may they, and which volume is it
``callers``    who asks: hub tokens, role keys, jobs' tokens, tickets of our own page
``volume``     a volume's folders, opened, and the threads that work in them as the jobs' user
``transfer``   listings, pushes and pulls of `toolkit_client.transfer`
``files``      single files, archives, and changes of names
"""
