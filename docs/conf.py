"""How sphinx builds the site from the pages that `docs/build_site.py` lays out: ``make docs``."""

from __future__ import annotations

import nbbacktest

project = "nbbacktest"
author = "The nbbacktest developers"
copyright = "the nbbacktest developers, Apache-2.0"  # noqa: A001 - sphinx's name for it
version = release = nbbacktest.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
suppress_warnings = [
    "myst.header",  # a page of figures may begin below its title's next level
    "ref.python",  # fields of two records may share a name; signatures name them without their class
]

# Pages are Markdown as GitHub reads it, with GitHub's names for headings.
myst_heading_anchors = 4
myst_enable_extensions = []

# Notebooks are shown as they were committed: nothing runs while the site is built.
nb_execution_mode = "off"
nb_merge_streams = True

# Docstrings are NumPy style, and put names between single backticks.
default_role = "code"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_preprocess_types = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False

html_theme = "furo"
html_title = "nbbacktest"
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1257b8", "color-brand-content": "#1257b8"},
    "dark_css_variables": {"color-brand-primary": "#7ab4ff", "color-brand-content": "#7ab4ff"},
}
pygments_style = "friendly"
pygments_dark_style = "monokai"
