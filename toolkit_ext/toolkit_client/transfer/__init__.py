"""Content of data on its way: what both ends of a transfer share, and the client's end of it.

``paths``, ``beneath``  names, and files below one folder that are reached without following links
``walk``                a folder's content in one order, which both ends have in common
``records``             the stream's form
``sender``, ``receiver``  from files to records, and back
"""
