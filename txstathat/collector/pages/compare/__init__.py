"""
The pages that compare stats in one chart.
"""

from txstathat.collector.pages.compare.compare_page import ComparePages

__all__ = ["ComparePages"]
