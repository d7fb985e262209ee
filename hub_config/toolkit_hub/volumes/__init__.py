"""Where the content of data lies on this machine. No web and no database here: only files.

``layout``  which folder is what
"""
