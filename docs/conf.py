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
# A reference that leads nowhere is an error (-n -W). The build does not fetch the
# inventories of other projects, so their names are exempt, and so are the parts of this
# one that are no public API.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"~?(asyncio|buildbot|click|collections|datetime|decimal|django|enum|flask|fractions"
        r"|klein|logging|numbers|os|pathlib|prometheus_client|random|redis|scrapy|socket"
        r"|sqlite3|sys|threading|time|treq|tuple|twisted|types|typing|zope)\b.*",
    ),
    (r"py:class", r"<InterfaceClass .*"),
    (
        r"py:.*",
        r"txstathat\.collector"
        r"\.(alerts|api|archive|auth|boards|errors|ingest|metrics|pages|records|web)\..*",
    ),
    (
        r"py:.*",
        r"txstathat\.(blocking|charts|instruments|metrica|migas|stores)\.\w+\..*",
    ),
    (r"py:.*", r"txstathat\.client\.wrappable\.Wrappable"),
    (r"py:(class|exc|data|attr|meth|func)", r"_?[A-Z]\w*(\.\w+)?"),
]
