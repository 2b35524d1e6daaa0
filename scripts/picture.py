#!/usr/bin/env python3
"""Draws what a command printed (standard input) as the SVG that the README shows."""
import html
import sys

WIDTH, LINE, FONT = 100, 17, 13
COLOURS = [("verified", "#7ee787"), ("completed", "#7ee787"), ("delivered", "#7ee787"), ("failed", "#ffa198"),
           ("$ ", "#ffffff"), ("+", "#7ee787"), ("-", "#ffa198")]


def colour(text):
    stripped = text.split("  ", 1)[-1].strip() if text[:6].strip()[:1].isdigit() else text
    for start, shade in COLOURS:
        if stripped.startswith(start):
            return shade
    if "failed" in stripped and " 0 failed" not in stripped:
        return "#ffa198"
    return "#c9d1d9"


lines = [line.rstrip()[:WIDTH] for line in sys.stdin]
height = LINE * (len(lines) + 2)
width = int(WIDTH * FONT * 0.61) + 30
print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">')
print(f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>')
print(f'<g font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="{FONT}" '
      'xml:space="preserve">')
for place, line in enumerate(lines):
    print(f'<text x="15" y="{LINE * (place + 1) + 8}" fill="{colour(line)}">{html.escape(line)}</text>')
print("</g></svg>")
