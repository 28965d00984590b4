"""deployd deploy: gets a release to its directory, before it is rolled out.

sources    where a release comes from: a directory, an archive, standard input, a git repository
entries    which entries of an archive may be unpacked, and where. Pure
unpacking  unpacks an archive
placing    gives a release its name among the others
"""
