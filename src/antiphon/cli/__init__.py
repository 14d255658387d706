"""The command line: `app` and one small file a command."""
