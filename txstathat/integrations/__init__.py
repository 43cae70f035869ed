"""
Programs and protocols that count already, connected to anything that provides
:class:`~txstathat.interfaces.IStatHat`.

Each module needs the program that it is for; the extra of the same name installs it.
"""
