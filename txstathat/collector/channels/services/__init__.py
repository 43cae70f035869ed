"""
The kinds of channels: a web hook, e-mail, ntfy and PagerDuty, each in its module.
"""
