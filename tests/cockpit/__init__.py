"""The Cockpit page: its modules in Node, and the page itself in Cockpit and Chromium on a host."""
