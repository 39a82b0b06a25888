"""Reports: image grids, tables, charts and self-contained pages."""

from tfg_jax.files import write_json
from tfg_jax.metrics.inverse_run import InverseRun, inverse_metrics
from tfg_jax.metrics.label_run import LabelRun, label_metrics
from tfg_jax.report.charts import bar_chart, line_chart, save_chart, save_scatter, scatter
from tfg_jax.report.images import grid, png_data_uri, save_png, to_pixels
from tfg_jax.report.inverse import inverse_report
from tfg_jax.report.label import label_guidance_report
from tfg_jax.report.page import Card, Cards, Config, Figure, Numbers, Report, Section, Table, Text, write_report
from tfg_jax.report.table import Column, counted, markdown_table, text_table, with_failed

__all__ = [
    "Card",
    "Cards",
    "Column",
    "Config",
    "Figure",
    "InverseRun",
    "LabelRun",
    "Numbers",
    "Report",
    "Section",
    "Table",
    "Text",
    "bar_chart",
    "counted",
    "grid",
    "inverse_metrics",
    "inverse_report",
    "label_guidance_report",
    "label_metrics",
    "line_chart",
    "markdown_table",
    "png_data_uri",
    "save_chart",
    "save_png",
    "save_scatter",
    "scatter",
    "text_table",
    "to_pixels",
    "with_failed",
    "write_json",
    "write_report",
]
