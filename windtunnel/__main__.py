"""``python -m windtunnel``: the command line, where the script of that name is not on the path."""

from windtunnel.commands.main import main

if __name__ == "__main__":
    main()
