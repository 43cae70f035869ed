"""
``python -m txstathat``
"""

from txstathat.cli import main

if __name__ == "__main__":
    main()
