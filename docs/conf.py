"""
How the documentation is built.
"""

from txstathat import __version__

project = "txStatHat"
author = copyright = "the txStatHat developers"
release = __version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = f"txStatHat {release}"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# A reader of the reference wants the short names.
python_use_unqualified_type_names = True
exclude_patterns = ["_build"]
