"""
The weekly digest: a week's totals beside the week before, by e-mail.
"""
