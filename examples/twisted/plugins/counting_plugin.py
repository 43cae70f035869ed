"""
Lets ``twist counting`` run the program, from the folder that has ``twisted/`` in it.
"""

from twisted.application.service import ServiceMaker

counting = ServiceMaker("counting", "counting_app", "Counts its looks.", "counting")
