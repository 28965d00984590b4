"""deployd deploy: gets a release to its directory, before it is rolled out.

sources    where a release comes from: a directory, an archive, standard input, a git repository
entries    which entries of an archive may be unpacked, and where. Pure
unpacking  unpacks an archive
workspace  a directory to make a release in, which the next deployment removes if this one is killed
links      paths that all releases share
assets     assets of all releases in one directory
building   has the daemon run the build of a release
placing    gives a release its name among the others
target     where a release goes and what belongs to it, from app file and options. Pure
"""
