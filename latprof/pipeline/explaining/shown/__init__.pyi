from ._html import html_of as html_of
from ._model_explorer import model_explorer_of as model_explorer_of
from ._text import ending as ending
from ._text import label as label
from ._text import lines_of as lines_of
from ._text import summary as summary

__all__ = ["ending", "html_of", "label", "lines_of", "model_explorer_of", "summary"]
