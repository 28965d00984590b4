"""The Capistrano plugin, with the Capistrano of Debian."""
