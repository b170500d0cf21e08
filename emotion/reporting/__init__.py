"""What a run or several show: figures, one self-contained HTML page, Markdown and LaTeX tables. No torch."""
