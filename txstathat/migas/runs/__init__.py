"""
The runs of a program: how each begins and ends, and the breadcrumbs that say so.
"""
