"""
Lets twist run the program, in the folder that has ``twisted/`` in it, with:
``PYTHONPATH=. twist counting``
"""

from twisted.application.service import ServiceMaker

counting = ServiceMaker("counting", "counting_app", "Counts its looks.", "counting")
