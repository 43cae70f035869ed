"""
The pages of boards: all of them, one, one on a wall, and the forms that change one.
"""

from txstathat.collector.pages.boards.board_list import BoardPages

__all__ = ["BoardPages"]
